"""How well a correspondence map or mask meets the truth on the R x R reference.

One definition everywhere: the truth is ``correspondence_mask >= 0.5`` as pixels of the R x R
reference, cells of a map are blown up to their rectangles of pixels, and means run over the cases
whose match is known.
"""

import numpy as np

from rba.geometry import cells_to_pixels, mask_box


def truth_mask(correspondence_mask: np.ndarray) -> np.ndarray:
    """Cut a soft R x R correspondence mask in [0, 1] at one half."""
    return correspondence_mask >= 0.5


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return intersection over union of two bool masks of one shape; NaN where both are empty."""
    _check(predicted, truth)
    union = int((predicted | truth).sum())
    return float((predicted & truth).sum() / union) if union else float("nan")


def box_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of the tight boxes of two bool masks; 0 where one is empty, NaN where both."""
    _check(predicted, truth)
    if not predicted.any() or not truth.any():
        return iou(predicted, truth)
    first, second = mask_box(predicted), mask_box(truth)
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    shared = max(width, 0) * max(height, 0)
    return shared / (first.width * first.height + second.width * second.height - shared)


def hit(correspondence_map: np.ndarray, truth: np.ndarray) -> float:
    """Say whether the centre of the map's largest cell lies in the truth.

    Args:
        correspondence_map: n x n.
        truth: R x R bool.

    Returns:
        1 or 0; where several cells are largest, the share of them whose centre lies in the truth
        (the chance of a hit when one is drawn), so that a flat map has no lucky first cell.
    """
    rows, columns = np.nonzero(correspondence_map == correspondence_map.max())
    height, width = truth.shape
    y = ((rows + 0.5) * height / correspondence_map.shape[0]).astype(int)
    x = ((columns + 0.5) * width / correspondence_map.shape[1]).astype(int)
    return float(truth[y, x].mean())


def mask_at_area(correspondence_map: np.ndarray, area: int, side: int) -> np.ndarray:
    """Keep the largest cells of a raw map until they cover about ``area`` pixels.

    Args:
        correspondence_map: n x n; ties are broken in row-major order.
        area: Wanted area in pixels of the side x side reference.
        side: R in pixels.

    Returns:
        R x R bool of whole cells, at least one.
    """
    cells = correspondence_map.size
    count = min(max(round(area * cells / side**2), 1), cells)
    order = np.argsort(-correspondence_map.ravel(), kind="stable")
    chosen = np.zeros(cells, bool)
    chosen[order[:count]] = True
    return cells_to_pixels(chosen.reshape(correspondence_map.shape), side, side)


def iou_at_area(correspondence_map: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of the raw map cut at the truth's own area, so that no threshold decides."""
    return iou(mask_at_area(correspondence_map, int(truth.sum()), truth.shape[0]), truth)


def centre_within(predicted: np.ndarray, truth: np.ndarray, reach: float) -> float:
    """Say whether the region's centre of mass lies within reach of the truth's.

    With reach = alpha times the longer side of the object's box this is PCK (percentage of correct
    keypoints, Yang and Ramanan 2013) of one keypoint, the region's centre; its mean over cases is
    PCK@alpha.

    Args:
        predicted: R x R bool; an empty one is never right.
        truth: R x R bool, not empty.
        reach: Pixels.

    Returns:
        1 or 0.
    """
    _check(predicted, truth)
    if not predicted.any():
        return 0.0
    first, second = (np.argwhere(mask).mean(axis=0) for mask in (predicted, truth))
    return float(np.linalg.norm(first - second) <= reach)


def _check(predicted: np.ndarray, truth: np.ndarray) -> None:
    if predicted.shape != truth.shape or predicted.dtype != bool or truth.dtype != bool:
        raise ValueError(
            f"expected two bool masks of one shape, got {predicted.dtype} {predicted.shape} and "
            f"{truth.dtype} {truth.shape}"
        )
