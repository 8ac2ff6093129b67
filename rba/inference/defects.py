"""Several defects in one mask: which belong together, and in what order they are mended."""

import math

import cv2
import numpy as np

from rba.geometry import mask_box


def separate_defects(
    mask: np.ndarray, distance: float | None, *, at_most: int = 8
) -> list[np.ndarray]:
    """Split an artifact mask into defects that are mended one after another.

    Parts of the mask that touch, or lie within ``distance`` of each other, also by way of a third
    part, are one defect. Where more than ``at_most`` would be left, the distance is doubled until
    they are not, so that a spray of specks stays cheap.

    Args:
        mask: HxW bool, not empty.
        distance: Largest gap between parts of one defect, as a share of the longer side of the
            mask, to about a pixel; None takes the whole mask as one defect.
        at_most: Most defects, at least 1.

    Returns:
        HxW bool masks, disjoint, whose union is ``mask``: the largest first, of equal ones the one
        that comes first in reading order.
    """
    if distance is None:
        return [mask.copy()]
    near = _around(mask, 0.0)
    labels, count = _components(mask[near])
    if count == 1:
        return [mask.copy()]
    gap = distance * max(mask.shape)
    while True:
        near = _around(mask, gap)
        away = cv2.distanceTransform(
            (~mask[near]).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        labels, count = _components(away <= gap / 2)
        if count <= at_most:
            break
        gap = max(2 * gap, 1.0)
    defects: list[np.ndarray] = []
    for number in range(1, count + 1):
        defect = np.zeros_like(mask)
        defect[near] = mask[near] & (labels == number)
        defects.append(defect)
    return sorted(defects, key=lambda defect: (-int(defect.sum()), int(defect.argmax())))


def _around(mask: np.ndarray, gap: float) -> tuple[slice, slice]:
    """Return the part of a mask's picture that holds all that lies within half a gap of it."""
    height, width = mask.shape
    box = mask_box(mask).grown(math.ceil(gap / 2) + 1)
    return slice(max(box.y0, 0), min(box.y1, height)), slice(max(box.x0, 0), min(box.x1, width))


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the 8-connected components of a mask from 1."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return labels, count - 1
