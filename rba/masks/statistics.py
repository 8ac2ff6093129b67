"""What a mask looks like, in five numbers that do not depend on the image's size."""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskStatistics:
    """Statistics of one mask.

    Attributes:
        area_ratio: Area of the whole mask over the area of the image, in (0, 1].
        num_components: 8-connected components of the whole mask.
        compactness: 4 pi A / P^2 of the largest component: 1 a disc, towards 0 ragged or thin.
        solidity: Area of the largest component over that of its convex hull, in (0, 1].
        elongation: Short over long side of the largest component's minimal rectangle, in (0, 1].
    """

    area_ratio: float
    num_components: int
    compactness: float
    solidity: float
    elongation: float


def mask_statistics(mask: np.ndarray) -> MaskStatistics:
    """Measure an HxW bool mask; shape on its largest component, from OpenCV's external contour.

    A is the contour's area and P its length through pixel centres (CHAIN_APPROX_NONE), both grown
    by half a pixel all round, so that a component one pixel wide has an area too.

    Raises:
        ValueError: If the mask is empty or not two-dimensional.
    """
    if mask.ndim != 2 or not mask.any():
        raise ValueError(f"a mask of shape {mask.shape} with no pixel set has no statistics")
    bytes_ = mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bytes_, connectivity=8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    component = (labels == largest).astype(np.uint8)
    contours, _ = cv2.findContours(component, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    area, length = _grown(contour)
    hull_area, _ = _grown(cv2.convexHull(contour))
    _, sides, _ = cv2.minAreaRect(contour)
    short, long = sorted(float(side) + 1.0 for side in sides)
    return MaskStatistics(
        area_ratio=float(mask.mean()),
        num_components=count - 1,
        compactness=min(4.0 * np.pi * area / length**2, 1.0),
        solidity=min(area / hull_area, 1.0),
        elongation=short / long,
    )


def _grown(contour: np.ndarray) -> tuple[float, float]:
    """Area and length of a contour grown by half a pixel (Steiner's formula, convex outlines)."""
    length = cv2.arcLength(contour, closed=True)
    area = cv2.contourArea(contour) + 0.5 * length + np.pi / 4
    return float(area), float(length + np.pi)
