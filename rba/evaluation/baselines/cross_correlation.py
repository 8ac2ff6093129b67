"""Normalised cross-correlation of the hole's surroundings with the reference."""

import dataclasses

import cv2
import numpy as np

from rba.case import Case
from rba.evaluation.baselines.prediction import (
    Prediction,
    area_map,
    case_frame,
    whole_object,
)
from rba.geometry import mask_box, resize_mask
from rba.inference.frames import Frame, zoom_in

_WORK = 160  # pixels, the side on which images are searched
_SCALES = (0.8, 1.0, 1.25)  # of the reference against the image
_ANGLES = (-30.0, -15.0, 0.0, 15.0, 30.0)  # degrees
_SURROUNDINGS = 0.75  # margin around the hole in sides of its box
_SMALLEST_MARGIN = 8  # pixels of the search
_FEWEST_PIXELS = 24  # pixels that must be visible around the hole


@dataclasses.dataclass(frozen=True)
class _Template:
    """The window around the hole, turned and scaled: pixels, what is visible, what is the hole."""

    pixels: np.ndarray
    visible: np.ndarray
    hole: np.ndarray


def cross_correlation(case: Case, size: int, cells: int) -> Prediction:
    """Find where the surroundings of the hole fit best and put the hole there.

    The hole itself is masked out of the template. A few scales and angles are tried; where nothing
    is visible around the hole, the whole object is the prediction.

    Args:
        case: The case.
        size: R in pixels.
        cells: n.
    """
    target = case_frame(case, _WORK).pixels.astype(np.float32)
    image = zoom_in(case.image, case.artifact_mask, _WORK, factor=None, magnification=1.0)
    best, found = -np.inf, None
    for scale in _SCALES:
        for angle in _ANGLES:
            template = _cut(image, scale, angle)
            score, corner = _match(target, template)
            if score > best:
                best, found = score, (template, corner)
    if found is None:
        return whole_object(case_frame(case, size), cells, fallback=True)
    template, (x, y) = found
    placed = np.zeros((_WORK, _WORK), bool)
    height, width = template.hole.shape
    placed[y : y + height, x : x + width] = template.hole
    return Prediction(
        correspondence_map=area_map(placed, cells), mask=resize_mask(placed, size, size)
    )


def _cut(image: Frame, scale: float, angle: float) -> _Template:
    """Cut the hole and its surroundings out of the image, turned and scaled."""
    box = mask_box(image.mask)
    longest = max(box.width, box.height)
    side = longest + 2 * max(_SURROUNDINGS * longest, _SMALLEST_MARGIN)
    length = min(max(round(side * scale), 1), _WORK)
    centre = ((box.x0 + box.x1) / 2 - 0.5, (box.y0 + box.y1) / 2 - 0.5)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += (length - 1) / 2 - np.array(centre)

    def warp(source: np.ndarray, method: int) -> np.ndarray:
        return cv2.warpAffine(source, matrix, (length, length), flags=method)

    hole = warp(image.mask.astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
    inside = warp(np.ones((_WORK, _WORK), np.uint8), cv2.INTER_NEAREST).astype(bool)
    pixels = warp(image.pixels.astype(np.float32), cv2.INTER_LINEAR)
    return _Template(pixels, inside & ~hole, hole)


def _match(target: np.ndarray, template: _Template) -> tuple[float, tuple[int, int]]:
    """Return the best masked correlation and its corner (x, y); -inf where none is possible."""
    fits = template.pixels.shape[0] <= target.shape[0]
    if not fits or not template.hole.any() or template.visible.sum() < _FEWEST_PIXELS:
        return -np.inf, (0, 0)
    visible = template.visible.astype(np.float32)
    scores = cv2.matchTemplate(target, template.pixels, cv2.TM_CCOEFF_NORMED, mask=visible)
    # Flat parts of the reference, such as the black around the object, divide 0 by 0.
    scores = np.where(np.isfinite(scores) & (np.abs(scores) <= 1.001), scores, -1.0)
    index = int(np.argmax(scores))
    y, x = divmod(index, scores.shape[1])
    return float(scores[y, x]), (x, y)
