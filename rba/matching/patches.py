"""Whether the pixels around two places look alike: the correlation of patches, warped."""

import cv2
import numpy as np

from rba.matching.features import Features

_SAMPLES = 9  # of a patch along each side
_PITCH = 2.0  # pixels of 512 between them
_FLAT = 3.0  # standard deviation (0 to 255) of a patch that pixels say nothing about
_MOST_ROWS = 4096  # OpenCV's remap takes at most 32,767 rows


def patch_correlation(
    target: Features,
    reference: Features,
    points: np.ndarray,
    mapped: np.ndarray,
    linear: np.ndarray,
) -> np.ndarray:
    """Correlate the patches around points with those around the places they are mapped to.

    Args:
        target: One view.
        reference: The other view.
        points: [Q, 2] on the target, pixels.
        mapped: [Q, 2] on the reference; NaN = nowhere.
        linear: [Q, 2, 2] the map of a patch.

    Returns:
        [Q] in [-1, 1], over the pixels that lie on both objects; NaN where a patch is flat or
        most of it lies outside.
    """
    steps = (np.arange(_SAMPLES) - (_SAMPLES - 1) / 2) * _PITCH * target.area.unit
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    here = points[:, None] + offsets
    there = mapped[:, None] + np.einsum("qij,kj->qki", linear, offsets)
    first, second = _sample(target, here), _sample(reference, there)
    used = np.isfinite(first) & np.isfinite(second)
    count = used.sum(axis=1)
    first, second = (_centred(values, used, count) for values in (first, second))
    energies = (first**2).sum(axis=1), (second**2).sum(axis=1)
    deviation = np.sqrt(np.minimum(*energies) / np.maximum(count, 1))
    known = (count >= _SAMPLES**2 / 3) & (deviation >= _FLAT)
    strength = np.sqrt(np.maximum(energies[0] * energies[1], 1e-12))
    return np.where(known, (first * second).sum(axis=1) / strength, np.nan)


def _centred(values: np.ndarray, used: np.ndarray, count: np.ndarray) -> np.ndarray:
    values = np.where(used, values, 0.0)
    mean = values.sum(axis=1) / np.maximum(count, 1)
    return np.where(used, values - mean[:, None], 0.0)


def _sample(view: Features, points: np.ndarray) -> np.ndarray:
    """Read the grey levels at [Q, K, 2] points; NaN outside of the view or its object."""
    places = np.nan_to_num(points, nan=-1e4).astype(np.float32) - np.float32(0.5)
    x, y = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
    values = np.empty(x.shape, np.float32)
    for start in range(0, len(x), _MOST_ROWS):
        rows = slice(start, start + _MOST_ROWS)
        values[rows] = cv2.remap(view.grey, x[rows], y[rows], cv2.INTER_LINEAR)
    inside = view.area.contains(points.reshape(-1, 2)).reshape(values.shape)
    return np.where(inside, values, np.nan)
