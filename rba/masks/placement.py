"""Put a mask's window into the image: freely, on an object, over its edge, where detail is."""

import cv2
import numpy as np

from rba.masks.layout import BuiltMask
from rba.masks.raster import put, settle_area

_ATTEMPTS = 4
_ENOUGH = 0.9  # of the area: a place that leaves this is taken
_FULLEST = 0.9  # of the allowed pixels are filled at most
_CROSSED = 0.25  # of the mask lies on the smaller side of the edge


def detail_map(image: np.ndarray) -> np.ndarray:
    """Return where an image has detail: HxW float32 in [0, 1], the smoothed strength of its edges.

    Args:
        image: HxWx3 or HxW uint8.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    across = cv2.Scharr(grey, cv2.CV_32F, 1, 0)
    down = cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    strength = cv2.GaussianBlur(cv2.magnitude(across, down), (0, 0), 0.02 * max(grey.shape))
    highest = float(strength.max())
    return strength / highest if highest > 0 else np.ones_like(strength)


def place_freely(
    built: BuiltMask, border_distance: float, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Place a window at a distance from the nearest border (a share of the shorter side).

    A cut window lies on the border that cuts it. Returns HxW bool.
    """
    slack = [limit - have for limit, have in zip(size, built.window.shape, strict=True)]
    wish = round(border_distance * min(size))
    margin = min(wish, slack[0] // 2, slack[1] // 2)
    side = built.cut_side
    if side is None:
        chances = [slack[0] - 2 * margin + 1, slack[1] - 2 * margin + 1]
        draw = rng.random() * 2 * sum(chances)
        side = int(np.searchsorted(np.cumsum(chances * 2), draw, side="right"))
    corner = [int(rng.integers(margin, room - margin + 1)) for room in slack]
    axis = 1 - side % 2  # sides 0 and 2 fix the column, 1 and 3 the row
    corner[axis] = margin if side < 2 else slack[axis] - margin
    return _placed(built.window, (corner[0], corner[1]), size)


def place_by_weight(
    window: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a window's centre with chances HxW >= 0; keep it in the image. Returns HxW bool."""
    rows = np.cumsum(weights.sum(axis=1, dtype=np.float64))
    wish = rng.random() * rows[-1]
    row = min(int(np.searchsorted(rows, wish, side="right")), len(rows) - 1)
    columns = np.cumsum(weights[row], dtype=np.float64)
    wish -= rows[row - 1] if row else 0.0
    wish = min(wish, float(np.nextafter(columns[-1], 0.0)))  # sums are rounded
    column = int(np.searchsorted(columns, wish, side="right"))
    return _centred(window, (row, column), (weights.shape[0], weights.shape[1]))


def place_crossing(
    window: np.ndarray, object_mask: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Centre a window on an object's edge, so that a part lies on either side where it can.

    Of a few places the one with the most on the smaller side is taken. Returns HxW bool.
    """
    size = (object_mask.shape[0], object_mask.shape[1])
    pixels = np.ascontiguousarray(object_mask, bool).view(np.uint8)
    inner = cv2.erode(pixels, np.ones((3, 3), np.uint8), borderValue=1)
    edge = np.flatnonzero(pixels > inner)
    if edge.size == 0:  # the object fills the image
        edge = np.flatnonzero(pixels)
    best, best_share = np.zeros(size, bool), -1.0
    for _ in range(_ATTEMPTS):
        place = divmod(int(edge[rng.integers(edge.size)]), size[1])
        mask = _centred(window, place, size)
        on = float(np.count_nonzero(mask & object_mask)) / max(int(np.count_nonzero(mask)), 1)
        share = min(on, 1.0 - on)
        if share > best_share:
            best, best_share = mask, share
        if share >= _CROSSED:
            break
    return best


def place_inside(
    window: np.ndarray, pixels: int, inside: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Put a window's centre on an allowed pixel and clip it; of a few places the fullest.

    What the clipping takes grows again along the shape's edge, within the allowed pixels.
    Returns HxW bool.
    """
    size = (inside.shape[0], inside.shape[1])
    rows = np.cumsum(np.count_nonzero(inside, axis=1))
    allowed = int(rows[-1])
    pixels = min(pixels, max(int(_FULLEST * allowed), 1))
    best, best_area = np.zeros(size, bool), 0
    for _ in range(_ATTEMPTS):
        row, column = _nth_pixel(inside, rows, int(rng.integers(allowed)))
        corner = (row - window.shape[0] // 2, column - window.shape[1] // 2)
        where, part = put(window, corner, size)
        clipped = part.view(bool) & inside[where]
        area = int(np.count_nonzero(clipped))
        if max(area, 1) > best_area:
            best, best_area = np.zeros(size, bool), max(area, 1)
            best[where] = clipped
            best[row, column] |= area == 0
        if best_area >= _ENOUGH * pixels:
            break
    return _refilled(best, pixels, inside)


def _nth_pixel(mask: np.ndarray, rows: np.ndarray, number: int) -> tuple[int, int]:
    """Return row and column of a set pixel by its number; ``rows`` counts up to each row's end."""
    row = int(np.searchsorted(rows, number, side="right"))
    before = int(rows[row - 1]) if row else 0
    return row, int(np.flatnonzero(mask[row])[number - before])


def _refilled(mask: np.ndarray, pixels: int, inside: np.ndarray) -> np.ndarray:
    """Give a mask its area back, working in as small a window around it as holds enough."""
    lacking = pixels - int(np.count_nonzero(mask))
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rim = 2 + 2 * int(np.sqrt(max(lacking, 0)))
    while True:
        rows = slice(max(top - rim, 0), top + height + rim)
        columns = slice(max(left - rim, 0), left + width + rim)
        allowed = inside[rows, columns]
        if np.count_nonzero(allowed) >= pixels:
            break
        rim *= 2
    part = np.ascontiguousarray(mask[rows, columns]).view(np.uint8)
    mask[rows, columns] = settle_area(part, pixels, allowed).view(bool)
    return mask


def _centred(window: np.ndarray, place: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Put a window's centre at a pixel, moved as far as it takes to lie in the image."""
    corner = [
        min(max(at - have // 2, 0), limit - have)
        for at, have, limit in zip(place, window.shape, size, strict=True)
    ]
    return _placed(window, (corner[0], corner[1]), size)


def _placed(window: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    where, part = put(window, corner, size)
    mask[where] = part.view(bool)
    return mask
