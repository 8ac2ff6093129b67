"""Model directories: what they describe, and weights that arrive exactly or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.model_directory import (
    describe_folder,
    load_parts,
    load_weights,
    require_same_architecture,
)
from rba.models.network import PARTS, RefinementNetwork

Make = Callable[..., RefinementNetwork]


def write(network: RefinementNetwork, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    pipeline = RefineByAlignPipeline.from_network(network, DDIMScheduler(), image_size=64)
    pipeline.to(dtype)
    pipeline.write(folder)


def assert_equal_weights(found: nn.Module, expected: nn.Module) -> None:
    state = found.state_dict()
    assert set(state) == set(expected.state_dict())
    for name, value in expected.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.fixture
def model_folder(network: RefinementNetwork, tmp_path: Path) -> Path:
    write(network, tmp_path / "model")
    return tmp_path / "model"


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
    write(network, folder, torch.bfloat16)
    parts = load_parts(folder)
    assert set(parts) == set(PARTS)
    assert {p.dtype for part in parts.values() for p in part.parameters()} == {torch.float32}


def test_the_autoencoder_kl_travels_too(make_network: Make, tmp_path: Path) -> None:
    network = make_network(patch=False)
    folder = tmp_path / "model"
    write(network, folder)
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
    with pytest.raises(InputError, match=r"none is not a model directory \(no such folder"):
        describe_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"is not a model directory \(no model_index"):
        describe_folder(tmp_path)
    shutil.rmtree(model_folder / "encoder")
    shutil.rmtree(model_folder / "connector")
    with pytest.raises(InputError, match="lacks encoder, connector: not a Refine-by-Align"):
        load_parts(model_folder)


def test_a_pipeline_of_another_kind_is_refused(model_folder: Path) -> None:
    index = model_folder / "model_index.json"
    contents = json.loads(index.read_text())
    contents["encoder"] = ["transformers", "CLIPVisionModel"]
    index.write_text(json.dumps(contents))
    with pytest.raises(InputError, match=r"encoder .*unknown part 'CLIPVisionModel'"):
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
