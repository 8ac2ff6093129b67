"""A loss on the encoder alone, where no pretrained one exists: a place's token finds its match."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SPREAD = 0.6  # tokens: standard deviation of the wanted distribution around the true place
_TEMPERATURE = 0.1  # of the cosines, as contrastive learning has it


def correspondence_losses(
    target_tokens: Tensor, reference_tokens: Tensor, places: Tensor, reference_mask: Tensor
) -> Tensor:
    """Return how badly tokens of the masked target find their places among the reference's.

    DINOv2 brings features that agree between views of a place; an encoder that starts from random
    weights does not. Where it is known how the target lies on the reference (a warp of one photo,
    or a pair's matches), the cross-entropy between the similarities of a target token to all
    reference tokens (InfoNCE, [0]) and a narrow distribution around its true place teaches them,
    holes included. Only the first half of a token's features is compared; the other half is free
    to hold appearance. The cross-attention is not told anything.

    Args:
        target_tokens: [B, N, D] of the image with its hole blanked, row-major over a square.
        reference_tokens: [B, M, D], row-major over a square.
        places: [B, G, G, 2], see `Batch.places`.
        reference_mask: [B, 1, R, R] bool, the object.

    Returns:
        [B] float32; 0 where no place is known or nothing of the target is on the reference.

    [0] van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding",
    2018, equation 4.
    """
    side = reference_mask.shape[-1]
    middles = _at_tokens(places.float(), math.isqrt(target_tokens.shape[1]))
    inside = ((middles >= 0) & (middles < side)).all(dim=-1)  # no NaN is
    # Places that count for nothing must not make the distances infinite.
    middles = torch.where(inside[..., None], middles, 0.0)
    pixels = middles.long()
    rows = torch.arange(len(pixels), device=pixels.device)[:, None]
    valid = inside & reference_mask[rows, 0, pixels[..., 1], pixels[..., 0]]

    half = target_tokens.shape[-1] // 2
    queries = F.normalize(target_tokens[..., :half].float(), dim=-1)
    keys = F.normalize(reference_tokens[..., :half].float(), dim=-1)
    logits = queries @ keys.transpose(1, 2) / _TEMPERATURE
    errors = -(_wanted(middles, reference_tokens.shape[1], side) * logits.log_softmax(-1)).sum(-1)
    return (errors * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def _at_tokens(places: Tensor, number: int) -> Tensor:
    """Interpolate [B, G, G, 2] places at the middles of number x number tokens, [B, N, 2]."""
    grid = places.permute(0, 3, 1, 2)
    if grid.shape[-1] != number:
        grid = F.interpolate(grid, (number, number), mode="bilinear", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _wanted(places: Tensor, count: int, side: int) -> Tensor:
    """Return [B, N, M] distributions over the reference's tokens, narrow around the places."""
    number = math.isqrt(count)
    steps = (torch.arange(number, device=places.device, dtype=places.dtype) + 0.5) * side / number
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    middles = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2)
    distances = torch.cdist(places, middles) * (number / side)
    return (-distances.square() / (2.0 * _SPREAD**2)).softmax(dim=-1)
