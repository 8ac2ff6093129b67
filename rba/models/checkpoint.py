"""Weights in and out: training checkpoints and exported model directories.

A training checkpoint (``.ckpt``) describes its own network under the key ``rba``, so it can be
exported without the configuration that made it. An exported directory is a diffusers pipeline
folder with one subfolder a part.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from rba.errors import InputError
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.network import PARTS, RefinementNetwork, describe_part
from rba.models.sources import load_pretrained

CHECKPOINT_KEY = "rba"
EMA_KEY = "ema"
_NEEDED_KEYS = ("state_dict", "global_step")
_NEEDED_FACTS = ("network", "scheduler", "reference_size", "train_encoder", "image_size")
_DIFFUSERS_PARTS: dict[str, Any] = {
    part.__name__: part
    for part in (AutoencoderKL, PatchAutoencoder, UNet2DConditionModel, Connector)
}
_ENCODERS: dict[str, tuple[Any, Any]] = {
    "Dinov2Model": (Dinov2Model, Dinov2Config),
    "Dinov2WithRegistersModel": (Dinov2WithRegistersModel, Dinov2WithRegistersConfig),
}


def describe_scheduler(scheduler: SchedulerMixin) -> dict[str, Any]:
    """Return a scheduler's class name and configuration as plain containers."""
    return describe_part(scheduler)  # pyright: ignore


def build_scheduler(description: Mapping[str, Any]) -> Any:
    """Invert `describe_scheduler`."""
    return getattr(diffusers, description["class"]).from_config(description["config"])


def build_part(description: Mapping[str, Any]) -> nn.Module:
    """Build a part with random weights from its description (`RefinementNetwork.describe`).

    Raises:
        InputError: If the class is none of the framework's parts.
    """
    name, config = description["class"], description["config"]
    if name in _ENCODERS:
        model, configuration = _ENCODERS[name]
        return model(configuration(**config))
    if name not in _DIFFUSERS_PARTS:
        raise InputError(
            f"unknown part {name!r}; known: {', '.join((*_DIFFUSERS_PARTS, *_ENCODERS))}"
        )
    return _DIFFUSERS_PARTS[name].from_config(config)


def read_checkpoint(path: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Read a training checkpoint with ``weights_only=True``.

    Args:
        path: The file. Its weights are mapped, not read.
        verify: Read all of it once and hold it to its check sums.

    Raises:
        InputError: If the file is missing, damaged or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"checkpoint {path} does not exist; a run keeps them in runs/NAME/checkpoints"
        )
    try:
        if not zipfile.is_zipfile(path):  # torch's own words would be about mmap
            raise ValueError("it is damaged or was cut short")
        if verify and zipfile.ZipFile(path).testzip() is not None:
            raise ValueError("its check sums do not fit: it is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a checkpoint: {reason}; take an older one"
        ) from error
    missing = _missing_keys(checkpoint)
    if missing:
        raise InputError(
            f"{path} is not a checkpoint of this framework (no key {missing[0]!r}); a run keeps "
            "them in runs/NAME/checkpoints"
        )
    return checkpoint


def _missing_keys(checkpoint: Any) -> list[str]:
    """Return what `network_from_checkpoint`, resuming and `rba export` need and is not there."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(CHECKPOINT_KEY), dict):
        return [CHECKPOINT_KEY]
    missing = [key for key in _NEEDED_KEYS if key not in checkpoint]
    return missing or [key for key in _NEEDED_FACTS if key not in checkpoint[CHECKPOINT_KEY]]


def require_same_network(path: str | Path, network: RefinementNetwork) -> None:
    """Refuse to resume from a checkpoint of another network; reads no weight.

    Args:
        path: The checkpoint.
        network: The configured network, on any device.

    Raises:
        InputError: If the checkpoint cannot be read, or listing the differing settings.
    """
    facts = read_checkpoint(path)[CHECKPOINT_KEY]
    differing = _differences(facts["network"], network.describe())
    for name in ("reference_size", "train_encoder"):
        here = getattr(network, name)
        if facts[name] != here:
            differing.append(f"{name} is {facts[name]} there, {here} here")
    if differing:
        raise InputError(
            f"{path} holds another network: {'; '.join(differing)}; resume with the configuration "
            "of its run, or start a new run from exported weights with init_from=DIR"
        )


def network_from_checkpoint(
    checkpoint: Mapping[str, Any], *, use_ema: bool
) -> tuple[RefinementNetwork, Any]:
    """Rebuild network and scheduler from a checkpoint that `read_checkpoint` returned.

    Args:
        checkpoint: The checkpoint.
        use_ema: Take the averaged weights for the trained parameters.

    Raises:
        InputError: If averaged weights are wanted and there are none, or it holds no whole network.
    """
    prefix, facts = "network.", checkpoint[CHECKPOINT_KEY]
    state = {
        key.removeprefix(prefix): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(prefix)
    }
    if use_ema:
        state |= averaged_weights(checkpoint)
    try:
        parts = {name: build_part(facts["network"][name]) for name in PARTS}
        network = RefinementNetwork(
            **parts, reference_size=facts["reference_size"], train_encoder=facts["train_encoder"]
        )
        network.load_state_dict(state)
        return network.eval(), build_scheduler(facts["scheduler"])
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the checkpoint holds no whole network: {reason}; was it written by another version?"
        ) from error


def averaged_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the EMA weights by parameter name (without the prefix ``network.``).

    Raises:
        InputError: If the run kept no average.
    """
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, dict) and EMA_KEY in state:
            return dict(zip(state["names"], state[EMA_KEY]["shadow_params"], strict=True))
    raise InputError("the checkpoint holds no averaged weights; use --raw for the trained ones")


def describe_folder(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Read the parts' configurations of a model directory; no weight is read.

    Raises:
        InputError: If the folder is missing or not a model directory of this framework.
    """
    folder = Path(folder)
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(
            f"{folder} is not a model directory (no model_index.json); `rba export` writes one"
        )
    classes = _read_json(index)
    missing = [name for name in PARTS if not (folder / name / "config.json").is_file()]
    missing += [name for name in PARTS if len(classes.get(name, "")) != 2 and name not in missing]
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}: not a Refine-by-Align model directory"
        )
    for name in PARTS:
        _require_whole_weights(folder / name)
    return {
        name: {
            "class": classes[name][1],
            "config": _read_json(folder / name / "config.json"),
        }
        for name in PARTS
    }


def _require_whole_weights(folder: Path) -> None:
    """Refuse a part without weights, or with a file that was cut short; reads headers alone."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder} holds no weights (*.safetensors); export the model again")
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            raise InputError(f"{path} is damaged: {error}; export the model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; export the model again") from error


def require_same_architecture(folder: str | Path, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a model directory whose parts differ from the configured network's.

    Args:
        folder: A model directory.
        wanted: `RefinementNetwork.describe` of the configured network.

    Raises:
        InputError: Listing the differing settings with both values.
    """
    differing = _differences(describe_folder(folder), wanted)
    if differing:
        raise InputError(
            f"init_from={folder} has another architecture: {'; '.join(differing)}; "
            "choose the model configuration that it was trained with"
        )


def _differences(
    found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the settings of the parts that two descriptions state differently."""
    differing: list[str] = []
    for name in PARTS:
        if found[name]["class"] != wanted[name]["class"]:
            differing.append(
                f"{name} is a {found[name]['class']} there, {wanted[name]['class']} here"
            )
            continue
        there = found[name]["config"]
        differing += [
            f"{name}.{key} is {there[key]!r} there, {value!r} here"
            for key, value in wanted[name]["config"].items()
            if key in there and there[key] != value
        ]
    return differing


def load_parts(folder: str | Path) -> dict[str, nn.Module]:
    """Load the four parts of a model directory with their weights, in float32.

    Raises:
        InputError: If the folder is not a model directory.
    """
    parts: dict[str, nn.Module] = {}
    for name, description in describe_folder(folder).items():
        kind = description["class"]
        loader = _ENCODERS[kind][0] if kind in _ENCODERS else _DIFFUSERS_PARTS.get(kind)
        if loader is None:
            raise InputError(f"{folder}/{name} is a {kind}, which this framework does not know")
        parts[name] = load_pretrained(loader, str(Path(folder) / name)).float()
    return parts


def load_weights(network: RefinementNetwork, folder: str | Path) -> None:
    """Copy the weights of a model directory into a network of the same architecture.

    Raises:
        InputError: If the architectures differ.
    """
    require_same_architecture(folder, network.describe())
    for name, part in load_parts(folder).items():
        getattr(network, name).load_state_dict(part.state_dict())
