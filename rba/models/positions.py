"""Fixed sines and cosines of a place, so that a network trained from scratch knows where it is."""

import math

import torch
from torch import Tensor

MAX_POSITION_CHANNELS = 32  # 8 octaves: the finest has 64 waves over a picture


def position_grid(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Return sines and cosines of each cell's place: what the U-Net's queries tell their place by.

    Octaves from half a turn over the picture upwards. A pretrained U-Net finds its places in the
    zero padding of its convolutions; learning that takes longer than a small training lasts.

    Args:
        height: h in latent cells.
        width: w in latent cells.
        channels: P, 4, 8, ... 32: sine and cosine along both axes of P / 4 octaves.
        like: Gives device and dtype.

    Returns:
        [1, P, h, w] in [-1, 1].
    """
    octaves = math.pi / 2 * 2.0 ** torch.arange(channels // 4, device=like.device)
    rows = _waves(height, octaves)[:, None].expand(-1, width, -1)
    columns = _waves(width, octaves)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1)[None].to(like.dtype)


def sincos_embedding(side: int, width: int) -> Tensor:
    """Return position embeddings for a square of tokens, [side * side, width] in [-1, 1].

    The usual start of small vision transformers ([0] section 3): learned embeddings that start at
    random first have to find out which tokens are neighbours.

    Args:
        side: Tokens along an axis.
        width: Features, a multiple of 4.

    [0] Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022.
    """
    frequencies = math.pi / 2 * side ** torch.linspace(0.0, 1.0, width // 4)
    waves = _waves(side, frequencies)
    rows = waves[:, None].expand(-1, side, -1)
    columns = waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)


def _waves(length: int, frequencies: Tensor) -> Tensor:
    """Sines and cosines [length, 2F] of the middles of ``length`` cells of a unit interval."""
    places = (torch.arange(length, device=frequencies.device) + 0.5) / length
    angles = places[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
