"""Normalised cross-correlation of the hole's surroundings with the reference."""

import dataclasses

import cv2
import numpy as np

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, region_prediction, whole_object
from rba.geometry import mask_box
from rba.inference.frames import (
    Frame,
    cells_on_reference,
    cut_reference,
    reference_frame,
    zoom_in,
)

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


def cross_correlation(case: Case, frame: Frame, cells: int) -> Prediction:
    """Find where the surroundings of the hole fit best and put the hole there.

    The hole itself is masked out of the template. The whole reference picture is searched, so that
    scale 1 means equal pictures; a few scales and angles are tried. Where nothing is visible around
    the hole, the whole object is the prediction.

    Args:
        case: The case.
        frame: The complete reference, R x R pixels.
        cells: n.
    """
    picture, object_mask = case.references[0], case.reference_masks[0]
    whole = reference_frame(picture, None, _WORK, object_margin=0.0)
    target = cut_reference(picture, object_mask, whole.box, _WORK).astype(np.float32)
    image = zoom_in(case.image, case.artifact_mask, _WORK, factor=None, magnification=1.0)
    best, found = -np.inf, None
    for scale in _SCALES:
        for angle in _ANGLES:
            template = _cut(image, scale, angle)
            score, corner = _match(target, template)
            if score > best:
                best, found = score, (template, corner)
    if found is None:
        return whole_object(frame, cells, fallback=True)
    template, (x, y) = found
    placed = np.zeros((_WORK, _WORK), bool)
    height, width = template.hole.shape
    placed[y : y + height, x : x + width] = template.hole
    region = cells_on_reference(placed, whole, *picture.shape[:2])
    return region_prediction(region, frame, cells)


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
