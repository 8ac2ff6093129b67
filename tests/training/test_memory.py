"""The memory that `check=true` tells: against closed forms, and against what torch really holds."""

import contextlib
import copy
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import profile

from rba.models.lora import LoraSettings
from rba.models.network import RefinementNetwork
from rba.models.trained_parts import choose_trained
from rba.settings import compose_config, plain
from rba.training.memory import (
    MemorySettings,
    memory_estimate,
    run_trained_parts,
    saved_activation_bytes,
    state_bytes,
)

PLAIN = MemorySettings(image_size=32, per_device_batch=4)
GIB = 2**30


def on_meta(network: RefinementNetwork) -> RefinementNetwork:
    return copy.deepcopy(network).to("meta")


def size(module: nn.Module, *, trained: bool | None = None) -> int:
    kept = (p for p in module.parameters() if trained is None or p.requires_grad == trained)
    return sum(p.numel() for p in kept)


@pytest.fixture
def frozen(network: RefinementNetwork) -> RefinementNetwork:
    """As in the paper: the encoder is frozen."""
    choose_trained(network, ["unet", "connector"], None)
    return network


def changed(**changes: Any) -> MemorySettings:
    return dataclasses.replace(PLAIN, **changes)


def test_every_trained_weight_counts_five_times(network: RefinementNetwork) -> None:
    estimate = memory_estimate(on_meta(network), PLAIN)
    trained = size(network, trained=True)
    assert estimate["weights"] * GIB == 4 * size(network)
    assert estimate["gradients"] * GIB == 4 * trained
    assert estimate["moments"] * GIB == 8 * trained
    assert estimate["average"] * GIB == 4 * trained
    parts = [value for name, value in estimate.items() if name != "together"]
    assert estimate["together"] == pytest.approx(sum(parts))


def test_each_setting_changes_its_own_part_alone(frozen: RefinementNetwork) -> None:
    base, trained = state_bytes(frozen, PLAIN), size(frozen, trained=True)
    still = size(frozen.autoencoder) + size(frozen.encoder)
    eight = sum(
        n * 8 if n < 4096 else n * (2 + 8 / 256)
        for n in (p.numel() for p in frozen.parameters() if p.requires_grad)
    )
    expected: list[tuple[dict[str, Any], dict[str, float]]] = [
        ({"average": False}, {"average": 0}),
        ({"eight_bit": True}, {"moments": eight}),
        ({"frozen_bfloat16": True}, {"weights": 4 * trained + 2 * still}),
        (
            {"shards": 8},
            {
                "weights": 4 * (trained / 8 + still),
                "gradients": 4 * trained / 8,
                "moments": 8 * trained / 8,
                "average": 4 * trained / 8,
                "gathered block": 8 * max(size(block) for block in frozen.unet.up_blocks),
            },
        ),
    ]
    for changes, parts in expected:
        assert state_bytes(frozen, changed(**changes)) == pytest.approx(base | parts), changes
    whole = state_bytes(frozen, changed(precision="bf16-true"))
    for name, share in {"weights": 0.5, "gradients": 0.5, "moments": 0.5, "average": 1.0}.items():
        assert whole[name] == pytest.approx(share * base[name])


def test_adapters_alone_take_nearly_nothing_beside_the_frozen_weights(
    network: RefinementNetwork,
) -> None:
    before = size(network)
    lora = LoraSettings(rank=2, alpha=2.0, dropout=0.0, targets=["to_q", "to_v"])
    choose_trained(network, ["lora"], lora)
    adapters = size(network, trained=True)
    estimate = state_bytes(network, PLAIN)
    assert estimate["weights"] == 4 * (before + adapters)
    assert estimate["gradients"] == 4 * adapters
    assert 0 < adapters < before / 20


def kept_for_real(network: RefinementNetwork, settings: MemorySettings) -> int:
    """The bytes of the storages that a real forward pass keeps."""
    kept, alive = dict[int, int](), list[torch.Tensor]()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and storage.nbytes():
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with precision(settings), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run_trained_parts(network, settings.image_size, settings.per_device_batch)
    return sum(kept.values())


def precision(settings: MemorySettings) -> contextlib.AbstractContextManager[Any]:
    if settings.mixed:
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


@pytest.mark.parametrize(
    "name",
    ["bf16-mixed", *(pytest.param(n, marks=pytest.mark.slow) for n in ("32-true", "bf16-true"))],
)
def test_saved_activations_are_what_autograd_keeps_for_real(
    network: RefinementNetwork, name: str
) -> None:
    settings = changed(precision=name)
    expected = saved_activation_bytes(on_meta(network), settings)
    own = network.to(torch.bfloat16) if settings.whole_bfloat16 else network
    assert expected == pytest.approx(kept_for_real(own.train(), settings), rel=0.02)


def peak(network: RefinementNetwork, settings: MemorySettings) -> int:
    """The most bytes that torch allocates and holds in a forward and backward pass."""
    with profile(profile_memory=True) as profiler, precision(settings):
        run_trained_parts(network, settings.image_size, settings.per_device_batch).sum().backward()
    events: Any = profiler.profiler.kineto_results.events()  # pyright: ignore
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return max(itertools.accumulate(sizes))


@pytest.mark.parametrize(
    ("name", "checkpointing"),
    [
        ("32-true", False),
        ("bf16-mixed", True),
        pytest.param("32-true", True, marks=pytest.mark.slow),
        pytest.param("bf16-mixed", False, marks=pytest.mark.slow),
    ],
)
def test_the_peak_of_a_real_step_is_near(
    frozen: RefinementNetwork, name: str, checkpointing: bool
) -> None:
    settings = changed(precision=name, gradient_checkpointing=checkpointing, per_device_batch=16)
    estimate = memory_estimate(on_meta(frozen), settings)
    if checkpointing:
        frozen.unet.enable_gradient_checkpointing()
    found = peak(frozen.train(), settings)
    together = (estimate["activations"] + estimate["gradients"]) * GIB
    assert 0.7 * found < together < 1.1 * found


def test_settings_are_read_from_a_configuration() -> None:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    find: Callable[..., MemorySettings] = lambda *more: MemorySettings.of(  # noqa: E731
        plain(compose_config("train", ["experiment=paper", *shards, *more])), 8
    )
    assert find() == MemorySettings(
        image_size=512, per_device_batch=24, precision="bf16-mixed", shards=1
    )
    assert find(
        "trainer=fsdp", "trainer.devices=8", "optimizer=adamw_8bit", "callbacks.ema.device=cpu",
        "callbacks.speed.gradient_checkpointing=true", "callbacks.speed.frozen_dtype=bfloat16",
    ) == MemorySettings(
        image_size=512, per_device_batch=24, precision="bf16-mixed", shards=8, eight_bit=True,
        average=False, gradient_checkpointing=True, frozen_bfloat16=True,
    )  # fmt: skip
