"""A tiny model directory, `rba refine` as typed, and train.py up to its first weight."""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import DDIMScheduler
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from rba.cli import main
from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet
from rba.settings import CONFIG_FOLDER, check_train_settings, compose_config

# The parts of the tiny model, smaller still, so that composing takes longer than building.
TINY = [
    "experiment=tiny",
    "max_steps=1",
    "global_batch=2",
    "per_device_batch=2",
    "data.num_workers=0",
    "model.image_size=32",
    "model.reference_size=16",
    "model.network.encoder.architecture.depths=[1,1]",
    "model.network.shared_start=false",
    "model.network.unet.architecture.sample_size=8",
    "model.network.unet.architecture.block_out_channels=[32,32,32,32]",
    "model.network.unet.architecture.layers_per_block=2",
]


class WeightsReached(Exception):
    """Training came to its weights: everything was accepted."""


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


@pytest.fixture(scope="session")
def train_module() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "train.py"
    spec = importlib.util.spec_from_file_location("train", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def usual(alignment_shards: Path, refinement_shards: Path) -> list[str]:
    """The overrides of a command that trains, but for the folder of the runs."""
    shards = {"alignment": alignment_shards, "refinement": refinement_shards}
    return [*TINY, *(f"data.{mode}.shards={folder}" for mode, folder in shards.items())]


@pytest.fixture(scope="session")
def composed(usual: list[str]) -> Callable[..., DictConfig]:
    """Return a function that composes the usual command with further settings.

    Hydra takes half a second for that, so plain ``key=value`` settings change a copy.
    """
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        base = compose("train", overrides=usual)

    def is_plain(setting: str) -> bool:
        key, _, value = setting.partition("=")
        group = "." not in key and isinstance(OmegaConf.select(base, key), DictConfig)
        return key.split(".")[0] in base and not group and value != "???"

    def compose_all(*settings: str) -> DictConfig:
        if not all(is_plain(setting) for setting in settings):
            return compose_config("train", [*usual, *settings])
        config = copy.deepcopy(base)
        for setting in settings:
            key, _, value = setting.partition("=")
            OmegaConf.update(config, key, yaml.safe_load(value))
        return config

    return compose_all


@pytest.fixture
def train(
    train_module: ModuleType,
    composed: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Return a function that trains up to the first weight, where it raises `WeightsReached`."""

    def reached(*_: object, **__: object) -> None:
        raise WeightsReached("everything was accepted")

    # Seeding comes right before the network's weights are made or read.
    monkeypatch.setattr("lightning.pytorch.seed_everything", reached)
    monkeypatch.setattr("rba.models.model_directory.load_parts", reached)

    def run(*more: str) -> None:
        config = composed(f"runs_folder={tmp_path}/runs", *more)
        check_train_settings(config)
        train_module.train(config)

    return run


@pytest.fixture
def refused(train: Callable[..., None]) -> Callable[..., str]:
    """Return a function that trains, which must refuse in one line, and returns it."""

    def run(*more: str) -> str:
        with pytest.raises(InputError) as mistake:
            train(*more)
        assert "\n" not in str(mistake.value)
        return str(mistake.value)

    return run
