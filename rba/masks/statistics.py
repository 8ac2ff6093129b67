"""What a mask looks like, in nine numbers that do not depend on the image's size."""

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np

# The contour is smoothed over this share of its points to see how rough it is.
_SMOOTHING = 0.04
_SMALLEST_WINDOW = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskStatistics:
    """Statistics of one mask; the shape is that of the largest 8-connected component.

    Attributes:
        area_ratio: Area of the whole mask over the area of the image, in (0, 1].
        num_components: 8-connected components of the whole mask.
        largest_share: Area of the largest component over that of the mask, in (0, 1].
        spread: Side of the whole mask's box over the side of a square of the mask's area
            (geometric mean of the box's sides); large where components lie far apart or are thin.
        compactness: 4 pi A / P^2 in [0, 1]: near 1 a disc, towards 0 ragged or thin.
        solidity: A over the area of the convex hull, in [0, 1].
        elongation: Short over long side of the minimal rectangle, in [0, 1].
        roughness: Share of the contour's length that goes when it is smoothed over 4 % of its
            points, in [0, 1). The pixel grid alone gives up to about 0.1.
        border_distance: Smallest distance of a pixel of the mask to the image's border over the
            image's shorter side, in [0, 0.5): 0 touches the border.
    """

    area_ratio: float
    num_components: int
    largest_share: float
    spread: float
    compactness: float
    solidity: float
    elongation: float
    roughness: float
    border_distance: float

    def values(self) -> Mapping[str, float]:
        """Return the numbers by name, in the order above."""
        return {name: float(getattr(self, name)) for name in STATISTICS}


STATISTICS = tuple(field.name for field in dataclasses.fields(MaskStatistics))


def mask_statistics(mask: np.ndarray) -> MaskStatistics:
    """Measure an HxW bool mask.

    A and P are area and length of OpenCV's external contour (CHAIN_APPROX_NONE), which runs through
    the centres of the outermost pixels: a component one pixel wide has no area, so compactness 0.

    Raises:
        ValueError: If the mask is empty or not two-dimensional.
    """
    if mask.ndim != 2 or not mask.any():
        raise ValueError(f"a mask of shape {mask.shape} with no pixel set has no statistics")
    height, width = mask.shape
    pixels = np.ascontiguousarray(mask, bool).view(np.uint8)
    left, top, columns, rows = cv2.boundingRect(pixels)
    pixels = pixels[top : top + rows, left : left + columns]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = 1 + int(np.argmax(areas))
    contour = outer_contour((labels == largest).view(np.uint8))
    compactness, solidity, elongation = contour_shape(contour)
    area = int(areas.sum())
    margin = min(left, top, width - left - columns, height - top - rows)
    return MaskStatistics(
        area_ratio=area / (height * width),
        num_components=count - 1,
        largest_share=float(areas.max()) / area,
        spread=float(np.sqrt(rows * columns / area)),
        compactness=compactness,
        solidity=solidity,
        elongation=elongation,
        roughness=contour_roughness(contour),
        border_distance=margin / min(height, width),
    )


def outer_contour(component: np.ndarray) -> np.ndarray:
    """Return the longest external contour of an HxW uint8 picture of components, Nx1x2 int32."""
    contours, _ = cv2.findContours(component, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return contours[0] if len(contours) == 1 else max(contours, key=len)


def contour_shape(contour: np.ndarray) -> tuple[float, float, float]:
    """Return compactness, solidity and elongation of a closed contour, each in [0, 1].

    A point counts as a disc, a straight line as solid.

    Args:
        contour: Nx1x2 (x, y), int32 or float32.
    """
    area, length = cv2.contourArea(contour), cv2.arcLength(contour, closed=True)
    hull = cv2.convexHull(contour)
    hull_area = cv2.contourArea(hull)
    short, long = sorted(cv2.minAreaRect(hull)[1])
    return (
        min(4.0 * np.pi * area / length**2, 1.0) if length > 0 else 1.0,
        min(area / hull_area, 1.0) if hull_area > 0 else 1.0,
        short / long if long > 0 else 1.0,
    )


def contour_roughness(contour: np.ndarray) -> float:
    """Return the share of a closed contour's length that a moving average takes away.

    Args:
        contour: Nx1x2 (x, y), points about evenly spaced along the contour.
    """
    points = contour.reshape(-1, 2).astype(np.float64)
    half = max(round(_SMOOTHING * len(points)), _SMALLEST_WINDOW) // 2
    length = cv2.arcLength(contour, closed=True)
    if len(points) <= 2 * half + 1 or length <= 0:
        return 0.0
    around = np.concatenate([points[-half - 1 :], points, points[:half]])
    sums = around.cumsum(axis=0)
    smooth = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    smooth_length = cv2.arcLength(smooth.astype(np.float32).reshape(-1, 1, 2), closed=True)
    return float(np.clip(1.0 - smooth_length / length, 0.0, 1.0 - 1e-9))
