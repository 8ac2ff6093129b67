"""Artifact masks over stored records, for looking at them: where training would draw them."""

import numpy as np

from rba.data.sample import MATCH_STRIDE
from rba.geometry import resize_mask
from rba.masks.generator import generate_mask
from rba.masks.profile import MaskProfile

_WORKING_SIDE = 512  # artifact masks are drawn on the picture shrunk to this longest side


def allowed_pixels(
    mask: np.ndarray | None, valid: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray | None:
    """Return where artifact masks may lie: on the object, and where matches are.

    Args:
        mask: HxW bool, the object, or None.
        valid: Which nodes of the match grid have a match, or None without a grid.
        size: H and W.

    Returns:
        HxW bool, or None for everywhere.
    """
    if valid is None or not valid.any():
        return mask
    seen = valid.repeat(MATCH_STRIDE, 0).repeat(MATCH_STRIDE, 1)[: size[0], : size[1]]
    both = seen if mask is None else seen & mask
    return both if both.any() else mask


def draw_masks(
    profile: MaskProfile,
    rng: np.random.Generator,
    count: int,
    size: tuple[int, int],
    allowed: np.ndarray | None,
) -> list[np.ndarray]:
    """Draw artifact masks over a whole picture.

    Args:
        profile: What they are like.
        rng: Where they come from.
        count: How many.
        size: Height and width of the picture in pixels.
        allowed: HxW bool of the picture, or None for everywhere.

    Returns:
        ``count`` bool masks, the picture's shape shrunk to a longest side of 512 at most.
    """
    scale = min(1.0, _WORKING_SIDE / max(size))
    height, width = (max(8, round(length * scale)) for length in size)
    inside = None
    if allowed is not None and allowed.any():
        inside = resize_mask(allowed, height, width)
    return [generate_mask(profile, rng, height, width, inside=inside) for _ in range(count)]
