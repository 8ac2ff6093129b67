"""Normalised cross-correlation of the hole's surroundings with the reference."""

import numpy as np

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, region_prediction, whole_object
from rba.evaluation.baselines.template import best_corner, correlate, cut_template
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
            template = cut_template(image, scale, angle, _SURROUNDINGS)
            score, corner = best_corner(correlate(target, template))
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
