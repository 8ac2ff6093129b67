"""Several defects in one mask: which belong together, and in what order they are mended."""

import cv2
import numpy as np
from scipy import ndimage

_EIGHT = np.ones((3, 3), int)


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
    labels, count = _components(mask)
    if count == 1:
        return [mask.copy()]
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    gap = distance * max(mask.shape)
    labels, count = _components(away <= gap / 2)
    while count > at_most:
        gap = max(2 * gap, 1.0)
        labels, count = _components(away <= gap / 2)
    defects = [mask & (labels == number) for number in range(1, count + 1)]
    return sorted(defects, key=lambda defect: (-int(defect.sum()), int(defect.argmax())))


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the 8-connected components of a mask from 1."""
    labels: np.ndarray = np.zeros(mask.shape, np.int32)
    count = int(ndimage.label(mask, structure=_EIGHT, output=labels))  # pyright: ignore
    return labels, count
