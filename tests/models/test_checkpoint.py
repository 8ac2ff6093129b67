"""Weights in and out: descriptions, checkpoints that load weights-only, model directories."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from diffusers.training_utils import EMAModel
from torch import nn
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.checkpoint import (
    averaged_weights,
    build_part,
    build_scheduler,
    describe_folder,
    describe_scheduler,
    load_parts,
    load_weights,
    network_from_checkpoint,
    read_checkpoint,
    require_same_architecture,
)
from rba.models.network import PARTS, RefinementNetwork, describe_part

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
        },
        **extra,
    }


def averaged_state(network: RefinementNetwork, offset: float) -> dict[str, Any]:
    """The state of an EMA callback whose average lies ``offset`` above the weights."""
    trained = {n: p.detach() + offset for n, p in network.named_parameters() if p.requires_grad}
    return {"names": list(trained), "ema": EMAModel(list(trained.values())).state_dict()}


def assert_equal_weights(found: nn.Module, expected: nn.Module) -> None:
    state = found.state_dict()
    assert set(state) == set(expected.state_dict())
    for name, value in expected.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.fixture
def model_folder(network: RefinementNetwork, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    RefineByAlignPipeline.from_network(network, scheduler(), image_size=64).write(folder)
    return folder


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
    assert_equal_weights(rebuilt, network)
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
    assert_equal_weights(network_from_checkpoint(contents, use_ema=False)[0], network)
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


def test_a_model_directory_describes_the_network_that_wrote_it(
    network: RefinementNetwork, model_folder: Path
) -> None:
    described = describe_folder(model_folder)
    assert {name: part["class"] for name, part in described.items()} == {
        name: part["class"] for name, part in network.describe().items()
    }
    require_same_architecture(model_folder, network.describe())


def test_weights_of_a_model_directory_arrive_exactly(
    make_network: Make, network: RefinementNetwork, model_folder: Path
) -> None:
    other = make_network(seed=1).eval()
    given = (
        torch.randn(1, 48, 8, 8),
        torch.tensor([300]),
        torch.ones(1, 1, 8, 8),
        torch.randn(1, 48, 8, 8),
    )
    images = torch.rand(1, 3, 32, 32) * 2 - 1

    @torch.no_grad()
    def predict(model: RefinementNetwork) -> torch.Tensor:
        return model.predict(*given, model.embed_references(images))

    assert not torch.equal(predict(other), predict(network))
    load_weights(other, model_folder)
    assert_equal_weights(other, network)
    assert torch.equal(predict(other), predict(network))


def test_loaded_parts_are_float32_whatever_was_saved(
    network: RefinementNetwork, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    pipeline = RefineByAlignPipeline.from_network(network, scheduler(), image_size=64)
    pipeline.to(torch.bfloat16)
    pipeline.write(folder)
    parts = load_parts(folder)
    assert set(parts) == set(PARTS)
    assert {p.dtype for part in parts.values() for p in part.parameters()} == {torch.float32}


def test_the_autoencoder_kl_travels_too(make_network: Make, tmp_path: Path) -> None:
    network = make_network(patch=False)
    folder = tmp_path / "model"
    RefineByAlignPipeline.from_network(network, scheduler(), image_size=64).write(folder)
    other = make_network(patch=False, seed=1)
    load_weights(other, folder)
    assert_equal_weights(other, network)
    lossless = make_network()
    with pytest.raises(
        InputError, match="autoencoder is a AutoencoderKL there, PatchAutoencoder here"
    ):
        load_weights(lossless, folder)


def test_another_architecture_is_listed_with_both_values(
    network: RefinementNetwork, model_folder: Path
) -> None:
    wanted = network.describe()
    wanted["unet"]["config"]["cross_attention_dim"] = 768
    wanted["encoder"]["config"]["hidden_size"] = 1024
    wanted["connector"]["config"]["hidden_features"] = 2048
    with pytest.raises(InputError, match=f"init_from={model_folder} has another architecture") as e:
        require_same_architecture(model_folder, wanted)
    for line in (
        "unet.cross_attention_dim is 16 there, 768 here",
        "encoder.hidden_size is 16 there, 1024 here",
        "connector.hidden_features is 32 there, 2048 here",
    ):
        assert line in str(e.value)
    assert "autoencoder" not in str(e.value)


def test_a_refused_folder_changes_no_weight(
    parts_of_another_width: RefinementNetwork, model_folder: Path
) -> None:
    before = {k: v.clone() for k, v in parts_of_another_width.state_dict().items()}
    with pytest.raises(InputError, match="has another architecture"):
        load_weights(parts_of_another_width, model_folder)
    after = parts_of_another_width.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.fixture
def parts_of_another_width(make_network: Make) -> RefinementNetwork:
    network = make_network(seed=2)
    return RefinementNetwork(
        PatchAutoencoder(patch_size=4, scaling_factor=2.0),
        network.encoder,
        network.connector,
        network.unet,
        reference_size=32,
    )


def test_what_is_no_model_directory_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none is not a model directory \(no model_index"):
        describe_folder(tmp_path / "none")
    shutil.rmtree(model_folder / "encoder")
    shutil.rmtree(model_folder / "connector")
    with pytest.raises(InputError, match="lacks encoder, connector: not a Refine-by-Align"):
        load_parts(model_folder)


def test_a_pipeline_of_another_kind_is_refused(model_folder: Path) -> None:
    index = model_folder / "model_index.json"
    contents = json.loads(index.read_text())
    contents["encoder"] = ["transformers", "CLIPVisionModel"]
    index.write_text(json.dumps(contents))
    with pytest.raises(InputError, match="encoder is a CLIPVisionModel"):
        load_parts(model_folder)
    del contents["encoder"]
    index.write_text(json.dumps(contents))
    with pytest.raises(InputError, match="lacks encoder"):
        describe_folder(model_folder)


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json"])
def test_a_damaged_directory_is_refused_with_the_file(model_folder: Path, file: str) -> None:
    (model_folder / file).write_text("{")
    with pytest.raises(InputError, match=f"{file} is damaged"):
        describe_folder(model_folder)


@pytest.mark.parametrize("part", ["autoencoder", "encoder", "connector", "unet"])
def test_missing_weights_of_a_part_are_refused(model_folder: Path, part: str) -> None:
    for file in (model_folder / part).glob("*.safetensors"):
        file.unlink()
    with pytest.raises(InputError, match=f"{model_folder}/{part}"):
        load_parts(model_folder)
