"""The denoising U-Net: loading, widening to the inpainting input, numbering its layers."""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from rba.errors import InputError
from rba.models.diffusers_parts import from_source
from rba.models.sources import Architecture


def load_unet(source: str | None, architecture: Architecture | None = None) -> UNet2DConditionModel:
    """Load an SD-1.5 family U-Net (subfolder ``unet``), or build it with random weights.

    Where the source has fewer input channels than ``architecture["in_channels"]`` (4 of SD-1.5
    against 9 for inpainting), its first convolution is widened with zeros, so that the output at
    step 0 equals the source's.

    Args:
        source: Local diffusers folder, single file, or hub id; None builds from ``architecture``.
        architecture: `UNet2DConditionModel`'s configuration.

    Raises:
        InputError: If the source cannot be opened or is of another family.
    """
    if source is None:
        return from_source(UNet2DConditionModel, None, architecture, subfolder="unet")
    unet: Any = from_source(UNet2DConditionModel, source, architecture, subfolder="unet")
    in_channels = (architecture or {}).get("in_channels")
    if in_channels is not None and unet.config["in_channels"] != in_channels:
        widen_input(unet, in_channels)
    return unet


def widen_input(unet: UNet2DConditionModel, in_channels: int) -> None:
    """Widen ``conv_in`` with zero weights, in place.

    Raises:
        InputError: If the U-Net already has more input channels.
    """
    old = unet.conv_in
    if old.in_channels > in_channels:
        raise InputError(
            f"the U-Net takes {old.in_channels} input channels, the configuration wants only "
            f"{in_channels}; set in_channels={old.in_channels}"
        )
    new = nn.Conv2d(in_channels, old.out_channels, 3, padding=1, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=in_channels)


def cross_attention_layers(unet: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the cross-attention modules (``attn2``) with names, in EXECUTION order.

    diffusers registers ``up_blocks`` before ``mid_block``, so enumerating modules would number
    them wrongly. Layers 0-5 lie in ``down_blocks``, 6 in ``mid_block``, 7-15 in ``up_blocks``
    (SD-1.5 family; the paper chose layer 9, the last at 16x16 queries).
    """
    layers: list[tuple[str, nn.Module]] = []
    for part in ("down_blocks", "mid_block", "up_blocks"):
        for name, module in getattr(unet, part).named_modules():
            if name.endswith("attn2"):
                layers.append((f"{part}.{name}", module))
    return layers
