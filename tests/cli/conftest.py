"""A model directory with random weights of the real classes, and `rba refine` as typed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from rba.cli import main
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet


def tiny_network() -> RefinementNetwork:
    """32-pixel images, 16-pixel references of 4 x 4 tokens, 16 cross-attention layers."""
    torch.manual_seed(0)
    encoder = {"image_size": 16, "patch_size": 4, "hidden_size": 16}
    unet = {
        "sample_size": 8,
        "in_channels": 97,
        "out_channels": 48,
        "block_out_channels": [8, 8, 8, 8],
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
    }
    return RefinementNetwork(
        PatchAutoencoder(patch_size=4),
        load_encoder(None, encoder | {"num_hidden_layers": 1, "num_attention_heads": 2}),
        Connector(16, 16, 16),
        load_unet(None, unet),
        reference_size=16,
        train_encoder=True,
    )


def tiny_pipeline() -> RefineByAlignPipeline:
    schedule = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    return RefineByAlignPipeline.from_network(tiny_network(), schedule, image_size=32)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed: tests that damage a model copy it first."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline().write(folder)
    return folder


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """70 x 90 pixels of noise without a black or a white pixel."""
    return np.random.default_rng(0).integers(30, 220, (70, 90, 3), np.uint8)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes an array as a picture and returns its path as text."""

    def write(name: str, pixels: np.ndarray, **options: object) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return str(path)

    return write


@pytest.fixture
def hole() -> Callable[..., np.ndarray]:
    """Return a function that makes a mask of the photo's size: 16 x 22 pixels of some value."""

    def make(value: int = 255) -> np.ndarray:
        mask = np.zeros((70, 90), np.uint8)
        mask[20:36, 30:52] = value
        return mask

    return make


@pytest.fixture
def typed(
    model_folder: Path,
    photo: np.ndarray,
    hole: Callable[..., np.ndarray],
    write: Callable[..., str],
    tmp_path: Path,
) -> Any:
    """Return a function that runs `rba refine` with some options replaced or added."""
    usual = {
        "model": str(model_folder),
        "image": write("image.png", photo),
        "mask": write("mask.png", hole()),
        "reference": write("reference.png", photo[:50, :40]),
        "output": str(tmp_path / "refined.png"),
        "steps": "1",
        "device": "cpu",
    }

    def run(**changes: str) -> int:
        options = usual | {name.replace("_", "-"): value for name, value in changes.items()}
        return main(["refine", *(f"--{name}={value}" for name, value in options.items())])

    return run


@pytest.fixture
def refusal(typed: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs `rba refine`, which must end with one line and status 2."""

    def run(**changes: str) -> str:
        assert typed(**changes) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run
