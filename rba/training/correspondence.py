"""A loss on the encoder alone, where no pretrained one exists: a place's token finds its match."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SPREAD = 0.6  # tokens: standard deviation of the wanted distribution around the true place
_TEMPERATURE = 0.1  # of the cosines, as contrastive learning has it


def correspondence_losses(
    target_tokens: Tensor,
    reference_tokens: Tensor,
    target_to_reference: Tensor,
    image_size: int,
    reference_mask: Tensor,
) -> Tensor:
    """Return how badly tokens of the masked target find their places among the reference's.

    DINOv2 brings features that agree between views of a place; an encoder that starts from random
    weights does not. Where the reference is a known warp of the target (alignment batches), the
    cross-entropy between the similarities of a target token to all reference tokens (InfoNCE, [0])
    and a narrow distribution around its true place teaches them, holes included. Only the first
    half of a token's features is compared; the other half is free to hold appearance. The
    cross-attention is not told anything.

    Args:
        target_tokens: [B, N, D] of the image with its hole blanked, row-major over a square.
        reference_tokens: [B, M, D], row-major over a square.
        target_to_reference: [B, 3, 3], pixels to pixels; NaN = unknown.
        image_size: Side of the target in pixels.
        reference_mask: [B, 1, R, R] bool, the object.

    Returns:
        [B] float32; 0 where the warp is unknown or nothing of the target is on the reference.

    [0] van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding",
    2018, equation 4.
    """
    side = reference_mask.shape[-1]
    places, seen = _places(target_tokens.shape[1], target_to_reference.float(), image_size)
    # Far places count for nothing, but must not make the distances infinite.
    places = places.clamp(-side, 2 * side)
    inside = ((places >= 0) & (places < side)).all(dim=-1)
    pixels = places.clamp(0, side - 1).long()
    rows = torch.arange(len(pixels), device=pixels.device)[:, None]
    valid = inside & seen & reference_mask[rows, 0, pixels[..., 1], pixels[..., 0]]

    half = target_tokens.shape[-1] // 2
    queries = F.normalize(target_tokens[..., :half].float(), dim=-1)
    keys = F.normalize(reference_tokens[..., :half].float(), dim=-1)
    logits = queries @ keys.transpose(1, 2) / _TEMPERATURE
    errors = -(_wanted(places, reference_tokens.shape[1], side) * logits.log_softmax(-1)).sum(-1)
    return (errors * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def _places(count: int, matrices: Tensor, image_size: int) -> tuple[Tensor, Tensor]:
    """Map the middles of the target's tokens.

    Returns:
        [B, N, 2] reference pixels, and [B, N] bool, whether they are known and before the camera.
    """
    known = matrices.isfinite().all(dim=(1, 2))
    matrices = torch.where(known[:, None, None], matrices, torch.eye(3, device=matrices.device))
    middles = _middles(math.isqrt(count), image_size, matrices)
    homogeneous = F.pad(middles, (0, 1), value=1.0) @ matrices.transpose(1, 2)
    depth = homogeneous[..., 2]
    places = homogeneous[..., :2] / depth.clamp(min=1e-6)[..., None]
    return places, known[:, None] & (depth > 1e-6)


def _wanted(places: Tensor, count: int, side: int) -> Tensor:
    """Return [B, N, M] distributions over the reference's tokens, narrow around the places."""
    number = math.isqrt(count)
    distances = torch.cdist(places, _middles(number, side, places)[None]) * (number / side)
    return (-distances.square() / (2.0 * _SPREAD**2)).softmax(dim=-1)


def _middles(number: int, side: int, like: Tensor) -> Tensor:
    """Return the middles (x, y) of a square of tokens in pixels, [number * number, 2]."""
    steps = (torch.arange(number, device=like.device, dtype=like.dtype) + 0.5) * (side / number)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)
