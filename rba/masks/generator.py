"""Draw artifact masks: the area first, then a shape of one of several families that meets it."""

import cv2
import numpy as np

from rba.masks.profile import MAX_AREA_RATIO, MaskProfile
from rba.masks.shapes import FIELD_SIDE, draw_field

_MIN_PIXELS = 16
_PLACE_ATTEMPTS = 4
# The share of the drawn area that a place has to leave before another is tried.
_ENOUGH = 0.9
# How far below 0 (in cells) a level may sink to make up for what a clip took.
_FLOOR = -0.5


def generate_mask(
    profile: MaskProfile,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    inside: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one mask: a pure function of the profile, the generator's state and the size.

    Args:
        profile: Distributions of area, family, elongation and roughness.
        rng: From `rba.draws.keyed_generator`.
        height: Height in pixels; height * width >= 16.
        width: Width in pixels.
        inside: HxW bool of allowed pixels, for example an object's mask. The mask's centre is put
            on it and the mask is clipped to it, so it may get smaller than drawn.

    Returns:
        HxW bool, never empty, never full. Without ``inside`` its area is the drawn one, to the
        pixel where the image has room for the shape.

    Raises:
        ValueError: If the image is too small, or ``inside`` is empty or of another size.
    """
    if height * width < _MIN_PIXELS:
        raise ValueError(f"an image of {width}x{height} pixels is too small for an artifact mask")
    if inside is not None and (inside.shape != (height, width) or not inside.any()):
        raise ValueError(
            f"allowed places of shape {inside.shape} with {int(inside.sum())} pixels set do not "
            f"fit a mask of {width}x{height} pixels"
        )
    area = min(profile.draw_area(rng), MAX_AREA_RATIO)
    pixels = min(max(round(area * height * width), 1), height * width // 2)
    family = profile.draw_family(rng)
    elongation = profile.draw_elongation(rng)
    field = draw_field(family, elongation, rng.uniform(*profile.roughness), rng)
    field = _trim(field)
    if inside is not None:
        return _place_on(_enlarge(field, pixels, height, width), pixels, inside, rng)
    over_border = rng.random() < profile.border_share
    centre = rng.random(2) * (height, width)
    if over_border:
        mask = _place_over_border(field, pixels, (height, width), centre)
        if int(mask.sum()) == pixels:
            return mask
    window = _enlarge(field, pixels, height, width)
    corner = np.rint(centre - np.asarray(window.shape) / 2).astype(int)
    corner = np.clip(corner, 0, np.asarray((height, width)) - window.shape)
    return _place(window, pixels, (height, width), corner)


def _trim(field: np.ndarray) -> np.ndarray:
    """Cut a field to the box of its shape, with a rim of two cells."""
    shape = field > 0
    if not shape.any():
        return field
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    top, left = max(int(rows[0]) - 2, 0), max(int(columns[0]) - 2, 0)
    return field[top : int(rows[-1]) + 3, left : int(columns[-1]) + 3]


def _enlarge(field: np.ndarray, pixels: float, height: int, width: int) -> np.ndarray:
    """Scale a field so that its shape has about ``pixels`` pixels, within the image's size."""
    share = max(float((field > 0).mean()), 1.0 / FIELD_SIDE)
    needed = pixels / share
    scale = np.sqrt(needed / field.size)
    rows = min(max(round(field.shape[0] * scale), 2), height)
    columns = min(max(round(needed / rows), 2), width)
    rows = min(max(round(needed / columns), 2), height)
    return cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR)


def _place(
    window: np.ndarray,
    pixels: int,
    size: tuple[int, int],
    corner: np.ndarray,
    floor: float = -np.inf,
) -> np.ndarray:
    """Cut the window's ``pixels`` highest values out where it meets the image."""
    image, part = _overlap(corner, window.shape, size)
    mask = np.zeros(size, bool)
    mask[image] = _highest(window[part], pixels, floor)
    return mask


def _place_over_border(
    field: np.ndarray, pixels: int, size: tuple[int, int], centre: np.ndarray
) -> np.ndarray:
    """Centre a shape anywhere, scaled up until the part within the image has the wanted area.

    Returns:
        A mask, of fewer than ``pixels`` pixels where the shape would have to be deformed for it.
    """
    wanted = float(pixels)
    mask = np.zeros(size, bool)
    for _ in range(3):
        window = _enlarge(field, wanted, *size)
        corner = np.rint(centre - np.asarray(window.shape) / 2).astype(int)
        mask = _place(window, pixels, size, corner, _FLOOR)
        visible = int(mask.sum())
        if visible == pixels or visible == 0:
            break
        wanted *= min(1.05 * pixels / visible, 4.0)
    return mask


def _place_on(
    window: np.ndarray, pixels: int, inside: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Put a window's centre on an allowed pixel and clip it; of a few places the fullest."""
    places = np.flatnonzero(inside)
    best, best_area = np.zeros_like(inside), 0
    for _ in range(_PLACE_ATTEMPTS):
        centre = np.array(np.unravel_index(places[rng.integers(places.size)], inside.shape))
        corner = centre - np.asarray(window.shape) // 2
        image, part = _overlap(corner, window.shape, inside.shape)
        allowed = inside[image]
        scores = np.where(allowed, window[part], -np.inf)
        chosen = _highest(scores, pixels, floor=_FLOOR)
        if not chosen.any():
            chosen = _highest(scores, 1)
        area = int(chosen.sum())
        if area > best_area:
            best = np.zeros_like(inside)
            best[image], best_area = chosen, area
        if best_area >= _ENOUGH * pixels:
            break
    return best


def _overlap(
    corner: np.ndarray, window: tuple[int, ...], size: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the image and of the window where a window at ``corner`` meets the image."""
    starts = [max(int(low), 0) for low in corner]
    ends = [
        min(int(low) + extent, limit)
        for low, extent, limit in zip(corner, window, size, strict=True)
    ]
    image = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
    part = tuple(
        slice(start - int(low), end - int(low))
        for start, end, low in zip(starts, ends, corner, strict=True)
    )
    return image, part


def _highest(scores: np.ndarray, count: int, floor: float = -np.inf) -> np.ndarray:
    """Mark exactly ``count`` of the highest scores, fewer where too few lie above ``floor``."""
    marked = scores > floor
    candidates = np.flatnonzero(marked)
    if candidates.size > count:
        values = scores.ravel()[candidates]
        lowest = np.argpartition(values, candidates.size - count)[: candidates.size - count]
        marked.ravel()[candidates[lowest]] = False
    return marked
