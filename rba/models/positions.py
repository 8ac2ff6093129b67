"""Fixed sines and cosines of a place, so that a network trained from scratch knows where it is."""

import math

import torch
from torch import Tensor


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
