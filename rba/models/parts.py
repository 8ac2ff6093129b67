"""A part of the network and its description: a class name and plain settings."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from rba.errors import InputError
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import ENCODERS

_DIFFUSERS_PARTS: dict[str, Any] = {
    part.__name__: part
    for part in (AutoencoderKL, PatchAutoencoder, UNet2DConditionModel, Connector)
}
_SHOWN = 12  # tensors that do not fit, in a message
_ENCODERS = {model.__name__: (model, config) for config, model in ENCODERS.values()}


def describe_part(part: Any) -> dict[str, Any]:
    """Return a part's class name and configuration, without what merely says where it came from."""
    config: dict[str, Any] = (
        part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
    )  # pyright: ignore
    volatile = ("transformers_version", "architectures", "torch_dtype", "dtype")
    kept = {k: v for k, v in config.items() if not k.startswith("_") and k not in volatile}
    return {"class": type(part).__name__, "config": _plain(kept)}


def _plain(value: Any) -> Any:
    """Return nested containers as dicts and lists, so that descriptions load weights-only."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]  # pyright: ignore
    return value


def part_class(name: str) -> Any:
    """Return the class of a part.

    Raises:
        InputError: If it is none of the framework's parts.
    """
    known = _DIFFUSERS_PARTS | {kind: model for kind, (model, _) in _ENCODERS.items()}
    if name not in known:
        raise InputError(f"unknown part {name!r}; known: {', '.join(known)}")
    return known[name]


def build_part(description: Mapping[str, Any]) -> nn.Module:
    """Build a part with random weights from its description (`RefinementNetwork.describe`).

    Raises:
        InputError: If the class is none of the framework's parts.
    """
    name, config = description["class"], description["config"]
    part = part_class(name)
    if name in _ENCODERS:
        _, configuration = _ENCODERS[name]
        return part(configuration(**config))
    return part.from_config(config)


def differing_settings(
    found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the settings that two networks' descriptions state differently.

    Args:
        found: `RefinementNetwork.describe` of a file's network ("there").
        wanted: The same of the configured network ("here").

    Returns:
        One phrase a setting, with both values.
    """
    differing: list[str] = []
    for name in wanted:
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


def require_same_parts(
    source: str, found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse first weights of another architecture than the configured network's.

    Args:
        source: Where they come from.
        found: `RefinementNetwork.describe` of what is there.
        wanted: The same of the configured network.

    Raises:
        InputError: Listing the differing settings with both values, and the tensors that do not
            fit, one by one, with both shapes.
    """
    settings = differing_settings(found, wanted)
    shapes = differing_shapes(found, wanted)
    if not settings and not shapes:
        return
    if len(shapes) > _SHOWN:
        shapes = [*shapes[:_SHOWN], f"and {len(shapes) - _SHOWN} more"]
    listed = [f"tensors that do not fit: {'; '.join(shapes)}"] if shapes else []
    raise InputError(
        f"init_from={source} has another architecture: {'; '.join([*settings, *listed])}; "
        "choose the model configuration that it was trained with"
    )


def differing_shapes(
    found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return a phrase for each tensor that two described networks do not have alike."""
    there, here = _shapes(found), _shapes(wanted)
    return [
        f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'missing')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _shapes(descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor, of parts that are built without memory."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, description in descriptions.items():
        with torch.device("meta"):
            state = build_part(description).state_dict()
        shapes |= {f"{part}.{name}": tuple(value.shape) for name, value in state.items()}
    return shapes
