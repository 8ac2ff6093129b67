"""Single weight files of the SD-1.5 family (``.safetensors``, ``.ckpt``), in the LDM key layout.

Nothing is fetched: the family's configuration is the caller's (``conf/model/paper.yaml``). The keys
go through diffusers' own conversion twice: as shapes from the file's header, so that a file of
another family is refused before a weight is read, and with the weights.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rba.errors import InputError
from rba.models.sources import Architecture, check_source, require_input_channels

_UNET_PREFIX, _AUTOENCODER_PREFIX = "model.diffusion_model.", "first_stage_model."
_UNET_INPUT = f"{_UNET_PREFIX}input_blocks.0.0.weight"
_TOKEN_KEYS = ".attn2.to_k.weight"
_FAMILIES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}

# What a user runs where they trust a file that only unpickling can open.
CONVERSION = (
    "import sys, torch, safetensors.torch as s; "
    "d = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "d = d.get('state_dict', d); "
    "s.save_file({k: v.clone().contiguous() for k, v in d.items() "
    "if isinstance(v, torch.Tensor)}, sys.argv[2])"
)


def family_of(cross_attention_dim: Any) -> str:
    """Return which family has this width of the text tokens, in words for a message."""
    family = _FAMILIES.get(cross_attention_dim, "an unknown family")
    return f"{family} (cross_attention_dim {cross_attention_dim})"


def check_single_file(part: Any, source: str, architecture: Architecture | None) -> None:
    """Refuse a file that does not hold ``part`` of the configured family; reads no weight.

    Args:
        part: `UNet2DConditionModel` or `AutoencoderKL`.
        source: The file.
        architecture: Configuration of ``part``.

    Raises:
        InputError: If the file cannot be opened, is of another family, or lacks tensors.
    """
    hollow = {n: torch.empty(shape, device="meta") for n, shape in _shapes(source).items()}
    _convert(part, source, architecture, hollow)


def load_single_file(part: Any, source: str, architecture: Architecture | None) -> Any:
    """Load ``part`` from a single file: float32, in evaluation mode.

    The U-Net keeps the file's number of input channels (4, or 9 for inpainting). Where the file
    holds averaged weights beside the raw ones, the raw ones are taken.

    Args:
        part: `UNet2DConditionModel` or `AutoencoderKL`.
        source: The file; a ``.ckpt`` is read with ``weights_only=True``.
        architecture: Configuration of ``part``.

    Raises:
        InputError: As `check_single_file`.
    """
    loaded, weights = _convert(part, source, architecture, _weights(source, _wanted(part)))
    # Copies: a mapped file must not change under the network.
    whole = {name: value.to(torch.float32, copy=True) for name, value in weights.items()}
    loaded.load_state_dict(whole, assign=True)
    return loaded.eval()


def _wanted(part: Any) -> Callable[[str], bool]:
    if part is UNet2DConditionModel:
        return lambda name: name.startswith(_UNET_PREFIX)
    return lambda name: (
        name.startswith((_AUTOENCODER_PREFIX, "encoder.", "decoder.")) or ("quant_conv." in name)
    )


def _convert(
    part: Any,
    source: str,
    architecture: Architecture | None,
    tensors: Mapping[str, Tensor],
) -> tuple[Any, dict[str, Tensor]]:
    """Return a part on the meta device, and its tensors by diffusers' names, of its shapes."""
    if architecture is None:
        raise InputError(f"{source} states no architecture; set one, as conf/model/paper.yaml does")
    settings = dict(architecture)
    mine = {name: value for name, value in tensors.items() if _wanted(part)(name)}
    if part is UNet2DConditionModel:
        _require_family(source, settings.get("cross_attention_dim"), mine)
        channels = mine[_UNET_INPUT].shape[1]
        require_input_channels(source, channels, settings)
        settings["in_channels"] = channels
        convert: Any = convert_ldm_unet_checkpoint
    else:
        prefixed = [name for name in mine if name.startswith(_AUTOENCODER_PREFIX)]
        mine = {name.removeprefix(_AUTOENCODER_PREFIX): mine[name] for name in prefixed or mine}
        convert = convert_ldm_vae_checkpoint
    with torch.device("meta"):
        made = part(**settings)
    try:
        converted = convert(mine, made.config)
    except (AttributeError, IndexError, KeyError) as error:
        raise _foreign(part, source, f"its keys cannot be converted ({error})") from error
    expected = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    missing = sorted(expected.keys() - converted.keys())
    if missing:
        raise _foreign(part, source, f"it lacks {len(missing)} tensors, {missing[0]} first")
    differing = [
        f"{name} is {tuple(converted[name].shape)} there, {shape} here"
        for name, shape in expected.items()
        if tuple(converted[name].shape) != shape
    ]
    if differing:
        raise _foreign(part, source, "; ".join(differing[:3]))
    return made, {name: converted[name] for name in expected}


def _require_family(source: str, width: int | None, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a U-Net that takes tokens of another width, by the name of its family."""
    widths = {value.shape[-1] for name, value in tensors.items() if name.endswith(_TOKEN_KEYS)}
    if _UNET_INPUT not in tensors or not widths:
        reason = f"it has no {_UNET_INPUT}; is it one part of a diffusers folder, or an adapter?"
        raise _foreign(UNet2DConditionModel, source, reason)
    if width is not None and widths != {width}:
        found = " and ".join(family_of(other) for other in sorted(widths))
        raise InputError(
            f"{source} is of {found}, this configuration of {family_of(width)}; give a file of the "
            "Stable Diffusion 1.5 family"
        )


def _foreign(part: Any, source: str, reason: str) -> InputError:
    return InputError(
        f"{source} holds no {part.__name__} of this architecture: {reason}; give a whole file of "
        "the Stable Diffusion 1.5 family, or a diffusers folder"
    )


def _shapes(source: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a file, from its header."""
    if source.endswith(".ckpt"):
        return {name: tuple(value.shape) for name, value in _unpickled(source).items()}
    with _opened(source) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _weights(source: str, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    if source.endswith(".ckpt"):
        return {name: value for name, value in _unpickled(source).items() if wanted(name)}
    with _opened(source) as file:
        return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118


def _opened(source: str) -> Any:
    try:
        return safe_open(_existing(source), framework="pt")
    except SafetensorError as error:
        raise InputError(f"{source} is damaged or was cut short: {error}; fetch it anew") from error


def _unpickled(source: str) -> dict[str, Tensor]:
    """Return a checkpoint's tensors, mapped where its format allows it; runs no code of it."""
    path = _existing(source)
    try:
        checkpoint: Any = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:
        if "weights_only" not in str(error):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{source} is damaged: {reason}; fetch it anew") from error
        raise InputError(
            f"{source} holds more than weights, and opening the rest could run foreign code; if "
            f'you trust it, convert it once: python -c "{CONVERSION}" {source} '
            f"{path.with_suffix('.safetensors')}"
        ) from error
    if isinstance(checkpoint, dict):
        checkpoint = checkpoint.get("state_dict", checkpoint)
        return {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    raise InputError(f"{source} holds no weights by name but a {type(checkpoint).__name__}")


def _existing(source: str) -> Path:
    check_source(source, "")
    return Path(source)
