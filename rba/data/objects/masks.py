"""Object masks of views: given, from alpha, or guessed from the picture alone."""

import cv2
import numpy as np

from rba.data.build.sizes import DroppedError, bounded
from rba.geometry import resize

FILE, ALPHA, GRABCUT, NONE = "file", "alpha", "grabcut", "none"
_SIDE = 256  # pixels that GrabCut works at
_ROUNDS = 5
_EDGE = 0.03  # share of a side along the border that is taken for background
_CORE = 0.35  # share of the sides of the ellipse in the middle that is taken for the object
_SHARES = (0.01, 0.9)  # of the picture that an object can have
_PART = 0.1  # parts smaller than this share of the largest one are no object


def guess_mask(image: np.ndarray) -> np.ndarray:
    """Guess which pixels are the object by GrabCut: what is in the middle and unlike the border.

    A fallback for photos without masks, wrong wherever the object is not in the middle or looks
    like what is behind it; records say that a mask was made so.

    Args:
        image: HxWx3 uint8 RGB.

    Returns:
        HxW bool.

    Raises:
        DroppedError: If nothing, or nearly everything, looks like an object.
    """
    height, width = image.shape[:2]
    small = resize(image, *bounded(height, width, _SIDE))
    rows, columns = small.shape[:2]
    labels = np.full((rows, columns), cv2.GC_PR_BGD, np.uint8)
    y, x = np.mgrid[0:rows, 0:columns]
    radius = np.hypot((y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5)
    labels[radius < _CORE] = cv2.GC_PR_FGD
    edge = [max(1, round(side * _EDGE)) for side in (rows, columns)]
    for border in (
        labels[: edge[0]],
        labels[-edge[0] :],
        labels[:, : edge[1]],
        labels[:, -edge[1] :],
    ):
        border[:] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # its clusters start at random
    models = np.zeros((2, 1, 65))
    blue_first = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    if small.std() >= 1.0:  # of one colour there is nothing to cluster
        cv2.grabCut(
            blue_first, labels, (0, 0, 0, 0), models[0], models[1], _ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    mask = _largest_parts((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if not _SHARES[0] <= mask.mean() <= _SHARES[1] or small.std() < 1.0:
        raise DroppedError("GrabCut found no object")
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return share >= 0.5


def _largest_parts(mask: np.ndarray) -> np.ndarray:
    """Close small gaps and leave out specks."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, numbers, _ = cv2.connectedComponentsWithStats(opened)
    areas = numbers[:, cv2.CC_STAT_AREA]
    areas[0] = 0
    return np.isin(parts, np.flatnonzero(areas >= max(1, _PART * areas.max())))
