"""The memory that `check=true` tells: against closed forms, and against steps that were taken."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import Dinov2Config, Dinov2Model

from rba.batch import Batch, Example, Mode
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.lora import LoraSettings
from rba.models.network import RefinementNetwork
from rba.models.trained_parts import choose_trained
from rba.settings import compose_config, plain
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.skip_non_finite import SkipNonFinite
from rba.training.callbacks.speed import Speed
from rba.training.check import on_meta
from rba.training.loss import Objective
from rba.training.memory import MemorySettings, memory_estimate
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer
from rba.training.storage_count import StorageCount
from rba.training.validation import ValidationSettings

SIDE = 64
PLAIN = MemorySettings(image_size=SIDE, per_device_batch=2, average=True, gpu=False)
LORA = LoraSettings(rank=2, alpha=2.0, dropout=0.0, targets=["to_q", "to_v"])
GIB = 2**30


def small_network() -> RefinementNetwork:
    """Two levels: a step has few operations."""
    encoder = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=8, image_size=32
    )
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=97, out_channels=48, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1, norm_num_groups=4, attention_head_dim=2, cross_attention_dim=16,
    )  # fmt: skip
    return RefinementNetwork(
        PatchAutoencoder(4, 2.0), Dinov2Model(encoder), Connector(16, 16, 16), unet,
        reference_size=32,
    )  # fmt: skip


def make_module(network: nn.Module, *, lora: bool = False, fused: bool = True) -> Any:
    assert isinstance(network, RefinementNetwork)
    choose_trained(network, ["lora"] if lora else None, LORA)
    rates = {"lora": 1e-3} if lora else {"connector": 1e-3, "unet": 1e-3}
    return RefineByAlignModule(
        network,
        DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
        Objective(),
        optimizer=lambda groups: torch.optim.AdamW(groups, fused=fused),
        learning_rates=rates,
        validation=ValidationSettings(layer=0),
    )


@functools.cache
def estimate(settings: MemorySettings, **choices: bool) -> dict[str, Any]:
    return memory_estimate(make_module(on_meta(small_network), **choices), settings)


def size(module: nn.Module, *, trained: bool | None = None) -> int:
    kept = (p for p in module.parameters() if trained is None or p.requires_grad == trained)
    return sum(p.numel() for p in kept)


def changed(**changes: Any) -> MemorySettings:
    return dataclasses.replace(PLAIN, **changes)


def test_every_trained_weight_counts_five_times() -> None:
    found, network = estimate(PLAIN), small_network()
    trained = size(network, trained=True)
    buffers = sum(b.numel() * b.element_size() for b in network.buffers())
    assert found["weights"] * GIB == 4 * size(network) + buffers
    assert found["gradients"] * GIB == 4 * trained
    assert found["moments"] * GIB == pytest.approx(8 * trained, rel=0.001)  # and steps' counts
    assert found["average"] * GIB == 4 * trained
    parts = [value for name, value in found.items() if name not in ("together", "peak in")]
    assert found["together"] == pytest.approx(sum(parts))
    assert found["peak in"] == "forward"


def test_each_setting_changes_its_own_part_alone() -> None:
    base, network = estimate(PLAIN), small_network()
    trained = size(network, trained=True)
    still = size(network.autoencoder) + size(network.encoder)
    small = [p.numel() for p in network.parameters() if p.requires_grad]
    eight = sum(n * 8 if n < 4096 else n * (2 + 8 / 256) for n in small)
    expected: list[tuple[dict[str, Any], dict[str, float]]] = [
        ({"average": False}, {"average": 0}),
        ({"eight_bit": True, "buckets": True}, {"moments": eight, "DDP's buckets": 4 * trained}),
        ({"frozen_dtype": "bfloat16"}, {"weights": base["weights"] * GIB - 2 * still}),
        (
            {"shards": 8},
            {
                "weights": base["weights"] * GIB - 4 * trained * 7 / 8,
                "gradients": 4 * trained / 8,
                "moments": 8 * trained / 8,
                "average": 4 * trained / 8,
            },
        ),
    ]
    for changes, parts in expected:
        found = estimate(changed(**changes))
        for name in ("weights", "gradients", "moments", "average", *parts):
            wanted = parts[name] if name in parts else base[name] * GIB
            assert found[name] * GIB == pytest.approx(wanted, rel=0.01), (changes, name)


@pytest.mark.slow
def test_a_gpu_widens_norms_and_an_optimiser_that_is_not_fused_takes_all_weights_at_once() -> None:
    mixed = changed(precision="bf16-mixed", per_device_batch=8)
    on_gpu = dataclasses.replace(mixed, gpu=True)
    assert estimate(on_gpu)["activations"] > 1.15 * estimate(mixed)["activations"]
    alone = changed(gpu=True, per_device_batch=1, image_size=16)
    found = estimate(alone, fused=False)
    assert found["peak in"] == "update"
    assert found["activations"] * GIB >= 4 * size(small_network(), trained=True)


class Batches(IterableDataset[Batch]):
    """The same batch on and on."""

    def __init__(self, count: int) -> None:
        mask = np.zeros((SIDE, SIDE), bool)
        mask[8:16, 12:20] = True
        self.batch = Batch.collate(
            Mode.ALIGNMENT,
            [
                Example(
                    image=np.full((SIDE, SIDE, 3), 100, np.uint8),
                    artifact_mask=mask,
                    reference=np.full((32, 32, 3), 100, np.uint8),
                    reference_mask=np.ones((32, 32), bool),
                    correspondence_mask=np.zeros((32, 32), np.float32),
                    correspondence_known=False,
                    draw=draw,
                    sample_id=f"made/0/{draw}",
                )
                for draw in range(count)
            ],
        )

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch


def measured(settings: MemorySettings, folder: Path, accumulation: int, lora: bool) -> float:
    """Take two steps through the trainer; return the most bytes of tensors alive, in GiB."""
    speed = Speed(gradient_checkpointing=settings.gradient_checkpointing)
    callbacks: list[Callback] = [speed, SkipNonFinite(folder / "bad.jsonl", 10), EMACallback(0.9)]
    with StorageCount() as count:
        trainer = make_trainer(
            {
                "accelerator": "cpu", "devices": 1, "num_nodes": 1, "gradient_clip_val": 1.0,
                "precision": settings.precision, "enable_progress_bar": False,
                "limit_val_batches": 0, "default_root_dir": str(folder),
            },
            callbacks=callbacks, loggers=[], max_steps=2, validate_every_n_steps=2,
            accumulation=accumulation, samples_file=None,
        )  # fmt: skip
        data = DataLoader(Batches(settings.per_device_batch), batch_size=None)
        trainer.fit(make_module(small_network(), lora=lora), data)
    return count.most / GIB


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize(
    ("batch", "changes"),
    [
        (1, {}),
        (8, {}),
        (8, {"gradient_checkpointing": True}),
        (8, {"lora": True}),
        pytest.param(1, {"gradients_stay": True}, marks=pytest.mark.slow),
        pytest.param(1, {"lora": True}, marks=pytest.mark.slow),
        pytest.param(8, {"precision": "bf16-mixed"}, marks=pytest.mark.slow),
        pytest.param(8, {"precision": "bf16-true"}, marks=pytest.mark.slow),
        pytest.param(8, {"gradients_stay": True}, marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_within_a_tenth_of_steps_that_were_taken(
    tmp_path: Path, batch: int, changes: dict[str, Any]
) -> None:
    lora = bool(changes.get("lora"))
    settings = changed(per_device_batch=batch, **{k: v for k, v in changes.items() if k != "lora"})
    told = estimate(settings, lora=lora)["together"]
    found = measured(settings, tmp_path, 2 if settings.gradients_stay else 1, lora)
    assert told == pytest.approx(found, rel=0.1)


def test_storages_count_once_by_kind_until_their_end() -> None:
    with StorageCount() as count:
        first = torch.zeros(100)
        view, second = first[10:], torch.zeros(200)
        assert sum(count.alive.values()) == 1200
        count.name("kept", [view])
        assert count.alive == {"activations": 800, "kept": 400}
        count.phase = "later"
        del second
        third = torch.zeros(50)
        assert sum(count.alive.values()) == 600
    assert (count.most, count.peak_phase) == (1200, "")
    assert (third.numel(), view.numel()) == (50, 90)
    with StorageCount({"kept": 0.5}) as count:
        count.name("kept", [first])
        assert count.most == 400  # known at first as what nobody has named
        assert count.alive["kept"] == 200


def test_settings_are_read_from_a_configuration() -> None:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    find: Callable[..., MemorySettings] = lambda *more: MemorySettings.of(  # noqa: E731
        plain(compose_config("train", ["experiment=paper", *shards, *more])), 8, 1
    )
    assert find() == MemorySettings(
        image_size=512, per_device_batch=24, precision="bf16-mixed", buckets=True
    )
    assert find(
        "trainer=fsdp", "trainer.devices=8", "optimizer=adamw_8bit", "callbacks.ema.device=cpu",
        "callbacks.speed.gradient_checkpointing=true", "callbacks.speed.frozen_dtype=bfloat16",
    ) == MemorySettings(
        image_size=512, per_device_batch=24, precision="bf16-mixed", shards=8, eight_bit=True,
        average=False, gradient_checkpointing=True, frozen_dtype="bfloat16",
    )  # fmt: skip
    assert not find("trainer=cpu").gpu
