"""The model that comes with the package, held to what is said of it."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rba.cli import main
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.model_directory import require_same_architecture
from rba.models.shipped import resolve_model
from rba.pictures import read_image, write_png
from rba.settings import build, compose_config, without_sources
from rba.training.check import on_meta

MAX_BYTES = 10_000_000


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, without a network."""

    def refuse(*_: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(offline: None) -> Path:
    return resolve_model("tiny")


def test_it_is_small(folder: Path) -> None:
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < MAX_BYTES, sizes
    assert not [path for path in sizes if path.name.startswith(".")]


def test_every_weight_is_finite_and_float16(folder: Path) -> None:
    tensors = {
        f"{path.parent.name}.{name}": tensor
        for path in folder.glob("*/*.safetensors")
        for name, tensor in load_file(path).items()
    }
    assert {name.partition(".")[0] for name in tensors} >= {"encoder", "connector", "unet"}
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    assert [name for name, tensor in floating.items() if tensor.dtype != torch.float16] == []
    assert [name for name, tensor in floating.items() if not tensor.isfinite().all()] == []


def test_its_configurations_name_no_folder(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text()), path
        assert not re.search(r'": "[/~]', path.read_text()), path


def test_it_is_the_network_of_the_paper_small_and_calibrated(folder: Path) -> None:
    pipeline = RefineByAlignPipeline.open("tiny")
    assert {weight.dtype for weight in pipeline.network.parameters()} == {torch.float32}
    layers = pipeline.network.cross_attention_layers()
    assert len(layers) == 16
    config: Any = pipeline.config
    assert 0 <= config.layer < len(layers)
    assert 0 <= config.sampler_step_index < config.num_inference_steps


def test_training_can_start_from_it() -> None:
    shards = [f"data.{mode}.shards=unread" for mode in ("alignment", "refinement")]
    config = compose_config("train", ["experiment=tiny", *shards])
    network: Any = on_meta(lambda: build(without_sources(config.model.network)))
    require_same_architecture("tiny", network.describe())


def test_rba_refine_opens_it_by_its_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(30, 220, (96, 120, 3), np.uint8)
    mask = np.zeros((96, 120), np.uint8)
    mask[30:60, 40:80] = 255
    for name, pixels in {"image": photo, "reference": photo[::-1], "mask": mask}.items():
        write_png(tmp_path / f"{name}.png", np.ascontiguousarray(pixels))
    given = [f"--{name}={name}.png" for name in ("image", "reference", "mask")]
    assert main(["refine", "--model=tiny", *given, "--output=out.png", "--steps=2"]) == 0
    refined = read_image("out.png")
    assert refined.shape == photo.shape
    assert (refined != photo)[30:60, 40:80].mean() > 0.5
    np.testing.assert_array_equal(refined[:10], photo[:10])


def test_its_card_says_what_it_may_be_used_for_and_what_it_saw(folder: Path) -> None:
    card = (folder / "README.md").read_text().lower()
    assert re.search(r"licen[cs]e", card)
    assert "apache-2.0" in card
    assert re.search(r"pictures|photographs|images", card)
    assert re.search(r"trained on|training data", card)
    assert len(card.split()) > 60
