"""Descriptions that rebuild their part, and checkpoints that load weights-only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from diffusers.training_utils import EMAModel
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from rba.errors import InputError
from rba.models.checkpoint import (
    averaged_weights,
    build_scheduler,
    describe_scheduler,
    read_checkpoint,
)
from rba.models.network import PARTS, RefinementNetwork
from rba.models.parts import build_part, describe_part
from rba.models.restore import network_from_checkpoint

Make = Callable[..., RefinementNetwork]


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)


def checkpoint_of(network: RefinementNetwork, **extra: Any) -> dict[str, Any]:
    """A training checkpoint's form (`rba.training.module`), without optimiser."""
    return {
        "state_dict": {f"network.{name}": value for name, value in network.state_dict().items()},
        "rba": {
            "network": network.describe(),
            "scheduler": describe_scheduler(scheduler()),
            "reference_size": network.reference_size,
            "train_encoder": network.train_encoder,
            "image_size": 64,
        },
        "global_step": 5,
        **extra,
    }


def averaged_state(network: RefinementNetwork, offset: float) -> dict[str, Any]:
    """The state of an EMA callback whose average lies ``offset`` above the weights."""
    trained = {n: p.detach() + offset for n, p in network.named_parameters() if p.requires_grad}
    return {"names": list(trained), "ema": EMAModel(list(trained.values())).state_dict()}


def state_differences(found: RefinementNetwork, expected: RefinementNetwork) -> list[str]:
    state, wanted = found.state_dict(), expected.state_dict()
    same = {name for name in wanted if name in state and torch.equal(state[name], wanted[name])}
    return sorted((set(state) | set(wanted)) - same)


def through_a_file(value: Any, path: Path) -> Any:
    torch.save(value, path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_rebuilt_from_its_description(
    network: RefinementNetwork, tmp_path: Path, name: str
) -> None:
    part = getattr(network, name)
    description = describe_part(part)
    assert json.loads(json.dumps(description)) == description
    rebuilt = build_part(through_a_file(description, tmp_path / "description"))
    assert type(rebuilt) is type(part)
    assert describe_part(rebuilt) == description
    shapes = {key: value.shape for key, value in part.state_dict().items()}
    assert {key: value.shape for key, value in rebuilt.state_dict().items()} == shapes
    rebuilt.load_state_dict(part.state_dict())


def test_the_other_kinds_of_parts_are_rebuilt_too(
    kl: AutoencoderKL, encoder_settings: dict[str, Any]
) -> None:
    config = Dinov2WithRegistersConfig(**encoder_settings, num_register_tokens=3)
    for part in (kl, Dinov2WithRegistersModel(config)):
        rebuilt = build_part(describe_part(part))
        assert type(rebuilt) is type(part)
        rebuilt.load_state_dict(part.state_dict())


def test_a_scheduler_is_rebuilt_from_its_description(tmp_path: Path) -> None:
    description = describe_scheduler(scheduler())
    rebuilt = build_scheduler(through_a_file(description, tmp_path / "description"))
    assert type(rebuilt) is DDIMScheduler
    assert describe_scheduler(rebuilt) == description
    torch.testing.assert_close(rebuilt.alphas_cumprod, scheduler().alphas_cumprod)


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown part 'Linear'; known: .*Connector"):
        build_part({"class": "Linear", "config": {}})


def test_a_checkpoint_gives_network_and_scheduler_back(make_network: Make, tmp_path: Path) -> None:
    network = make_network(train_encoder=True)
    path = tmp_path / "step.ckpt"
    torch.save(checkpoint_of(network), path)
    rebuilt, found = network_from_checkpoint(read_checkpoint(path), use_ema=False)
    assert state_differences(rebuilt, network) == []
    assert not rebuilt.training
    assert (rebuilt.reference_size, rebuilt.train_encoder) == (32, True)
    assert describe_scheduler(found) == describe_scheduler(scheduler())


def test_averaged_weights_replace_the_trained_ones_and_no_others(
    make_network: Make, tmp_path: Path
) -> None:
    network = make_network()
    callbacks = {"Other": {"a": 1}, "EMACallback": averaged_state(network, offset=1.0)}
    path = tmp_path / "step.ckpt"
    torch.save(checkpoint_of(network, callbacks=callbacks), path)
    contents = read_checkpoint(path)
    averaged, _ = network_from_checkpoint(contents, use_ema=True)
    raw, _ = network_from_checkpoint(contents, use_ema=False)
    assert state_differences(raw, network) == []
    parameters = dict(averaged.named_parameters())
    for name, parameter in network.named_parameters():
        expected = parameter + 1.0 if parameter.requires_grad else parameter
        assert torch.equal(parameters[name], expected), name
    assert set(averaged_weights(contents)) == {
        name for name, parameter in network.named_parameters() if parameter.requires_grad
    }


@pytest.mark.parametrize("callbacks", [{}, {"Progress": {"step": 1}}, {"Odd": None}])
def test_a_run_without_average_says_so(network: RefinementNetwork, callbacks: Any) -> None:
    contents = checkpoint_of(network, callbacks=callbacks)
    with pytest.raises(InputError, match="no averaged weights; use --raw"):
        network_from_checkpoint(contents, use_ema=True)


class Harmful:
    """What a malicious file holds: unpickling it calls a function."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


def test_a_pickled_object_is_refused_and_never_run(tmp_path: Path) -> None:
    path, victim = tmp_path / "step.ckpt", tmp_path / "victim"
    torch.save({"rba": Harmful(victim), "state_dict": {}}, path)
    with pytest.raises(InputError, match=f"{path} cannot be read as a checkpoint"):
        read_checkpoint(path)
    assert not victim.exists()


def test_what_is_no_checkpoint_of_ours_is_refused_with_its_path(tmp_path: Path) -> None:
    garbage, empty, foreign, listed, cut = (tmp_path / f"{name}.ckpt" for name in "abcde")
    garbage.write_bytes(b"this is no checkpoint")
    empty.touch()
    torch.save({"state_dict": {}, "epoch": 3}, foreign)
    torch.save([1, 2, 3], listed)
    torch.save({"rba": {"x": torch.zeros(1000)}}, cut)
    cut.write_bytes(cut.read_bytes()[:-500])
    refusals = {
        tmp_path / "none.ckpt": "does not exist; a run keeps them in",
        tmp_path: "does not exist",
        garbage: "cannot be read",
        empty: "cannot be read",
        cut: "cannot be read",
        foreign: "is not a checkpoint of this framework",
        listed: "is not a checkpoint of this framework",
    }
    for path, message in refusals.items():
        with pytest.raises(InputError, match=f"{path} {message}") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
