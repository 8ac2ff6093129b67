"""How visible the border of a repainted area is."""

import math

import cv2
import numpy as np

_REACH = 4  # pixels: the surroundings of the border, on both sides of it
_FLOOR = 1.0  # grey level: in flat pictures both steps are nearly 0


def seam_visibility(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean step across a mask's border over the mean step beside it.

    A step is the absolute difference of two neighbouring pixels of a row or column, mean over the
    channels, in grey levels. Across: one of the two lies in the mask. Beside: both lie on one side,
    within 4 pixels of a pixel of the other side. One grey level is added to both means.

    Args:
        image: HxWx3 uint8.
        mask: HxW bool.

    Returns:
        1 where the border is no stronger than its surroundings; NaN where the mask has no border or
        the border no surroundings.

    Raises:
        ValueError: If sizes disagree.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"shapes disagree: {image.shape}, mask {mask.shape}")
    pixels = image.astype(np.float64)
    near = _distance_to_other_side(mask) <= _REACH
    across: list[np.ndarray] = []
    beside: list[np.ndarray] = []
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis)).mean(axis=2)
        first, second = _neighbours(mask, axis)
        close = np.logical_and(*_neighbours(near, axis))
        across.append(steps[first != second])
        beside.append(steps[(first == second) & close])
    border, surroundings = np.concatenate(across), np.concatenate(beside)
    if not border.size or not surroundings.size:
        return math.nan
    return float((border.mean() + _FLOOR) / (surroundings.mean() + _FLOOR))


def _neighbours(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both members of every pair of neighbours along an axis."""
    length = array.shape[axis]
    return array.take(range(length - 1), axis), array.take(range(1, length), axis)


def _distance_to_other_side(mask: np.ndarray) -> np.ndarray:
    """Return each pixel's Euclidean distance to the nearest pixel of the other kind."""
    inside = mask.astype(np.uint8)
    distances = [
        cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (inside, 1 - inside)
    ]
    return np.maximum(*distances)
