"""SIFT key points of one view, on its object where that is known, also as seen from aside."""

import dataclasses
from typing import Any

import cv2
import numpy as np

from rba.matching.view_area import ViewArea

# Products of descriptors are sums of multiples of 2^-20 up to about 1, which float32 holds exactly:
# the same matches in whatever order many threads add them up.
LEVELS = 1024
_TILT = 2.0  # a face that looks half as wide: turned by 60 degrees
_TURNS = (0.0, 45.0, 90.0, 135.0)  # degrees: directions in which the view is compressed
_SMALLEST_TILTED = 32  # pixels
_SMOOTHING = 1.0  # pixels: patches are compared after the noise of single pixels is gone


@dataclasses.dataclass(frozen=True)
class Features:
    """Key points of one view.

    Attributes:
        points: [N, 2] float64 (x, y) in pixels, pixel centres at i + 0.5.
        descriptors: [N, 128] float32, root-SIFT, of unit length within rounding to `LEVELS`.
        num_upright: The first so many are of the view as it is, the others of tilted ones.
        grey: HxW float32 in [0, 255], slightly smoothed.
        area: The view's pixels.
    """

    points: np.ndarray
    descriptors: np.ndarray
    num_upright: int
    grey: np.ndarray
    area: ViewArea


def sift_features(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    max_features: int = 6000,
    contrast: float = 0.015,
    tilted: bool = True,
) -> Features:
    """Find key points.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, the object; key points lie on it.
        max_features: Those of strongest contrast are kept, of the view and of each tilted one.
        contrast: SIFT's threshold; OpenCV's own of 0.04 leaves smooth surfaces empty.
        tilted: Search in compressed copies of the view as well (ASIFT, Morel and Yu 2009): of a
            face that turns away between two views SIFT alone recognises nothing beyond about 50
            degrees.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    allowed = None if mask is None else mask.astype(np.uint8)
    detector: Any = cv2.SIFT.create(nfeatures=max_features, contrastThreshold=contrast)
    keypoints, descriptors = detector.detectAndCompute(grey, allowed)
    found = [(keypoints, descriptors)]
    # OpenCV tilts by resizing; nothing must vanish.
    if tilted and min(grey.shape) >= _SMALLEST_TILTED:
        tilting: Any = cv2.AffineFeature.create(detector)
        tilting.setViewParams([_TILT] * len(_TURNS), list(_TURNS))
        found.append(tilting.detectAndCompute(grey, allowed))
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTHING)
    points = [np.array([k.pt for k in points], np.float64).reshape(-1, 2) for points, _ in found]
    raw = [np.empty((0, 128), np.float32) if d is None else d for _, d in found]
    share = np.concatenate(raw)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-6)
    area = ViewArea((grey.shape[0], grey.shape[1]), mask)
    descriptors = np.rint(np.sqrt(share) * LEVELS) / np.float32(LEVELS)
    return Features(np.concatenate(points) + 0.5, descriptors, len(points[0]), smooth, area)
