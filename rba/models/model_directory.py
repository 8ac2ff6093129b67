"""Model directories: diffusers pipeline folders with one subfolder a part."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from rba.errors import InputError
from rba.models.network import PARTS, RefinementNetwork
from rba.models.parts import part_class, require_same_parts
from rba.models.shipped import INDEX_NAME, resolve_model
from rba.models.sources import load_pretrained


def describe_folder(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Read the parts' configurations of a model directory; no weight is read.

    Args:
        folder: A model directory, or a shipped model's name (`resolve_model`).

    Raises:
        InputError: If the folder is missing or not a model directory of this framework.
    """
    folder = resolve_model(folder)
    index = folder / INDEX_NAME
    if not index.is_file():
        raise InputError(
            f"{folder} is not a model directory (no {INDEX_NAME}); `rba export` writes one"
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
        folder: A model directory or a shipped model's name.
        wanted: `RefinementNetwork.describe` of the configured network.

    Raises:
        InputError: Listing what differs, with both values or shapes.
    """
    require_same_parts(str(folder), describe_folder(folder), wanted)


def load_parts(folder: str | Path) -> dict[str, nn.Module]:
    """Load the four parts of a model directory with their weights, in float32.

    Args:
        folder: A model directory or a shipped model's name; weights of any precision.

    Raises:
        InputError: If the folder is not a model directory.
    """
    folder = resolve_model(folder)
    parts: dict[str, nn.Module] = {}
    for name, description in describe_folder(folder).items():
        try:
            kind = part_class(description["class"])
        except InputError as error:
            raise InputError(f"{folder / name} cannot be opened: {error}") from error
        parts[name] = load_pretrained(kind, str(folder / name)).float()
    return parts


def load_weights(network: RefinementNetwork, folder: str | Path) -> None:
    """Copy the weights of a model directory into a network of the same architecture.

    Args:
        network: Changed in place.
        folder: A model directory or a shipped model's name.

    Raises:
        InputError: If the architectures differ.
    """
    require_same_architecture(folder, network.describe())
    for name, part in load_parts(folder).items():
        getattr(network, name).load_state_dict(part.state_dict())
