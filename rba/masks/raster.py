"""Small windows of pixels: trim, settle the area, keep one component, put into an image."""

import cv2
import numpy as np

# The area may be off by this without being settled: half of what is promised.
_TOLERANCE, _PIXELS = 0.025, 2


def settle_area(window: np.ndarray, pixels: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """Grow or shrink a shape evenly along its edge until it has the wanted area.

    Args:
        window: HxW uint8 0/1, not empty; what is 1 lies on allowed pixels.
        pixels: Wanted area, at most the number of allowed pixels.
        allowed: HxW bool; all by default.

    Returns:
        HxW uint8 0/1, the same array where its area is near enough.
    """
    if abs(int(np.count_nonzero(window)) - pixels) <= max(_TOLERANCE * pixels, _PIXELS):
        return window
    # Distance to the edge, ties broken by how much of the neighbourhood is set: tips go first.
    score = cv2.distanceTransform(window, cv2.DIST_L2, cv2.DIST_MASK_5)
    score -= cv2.distanceTransform(1 - window, cv2.DIST_L2, cv2.DIST_MASK_5)
    score += 0.7 * cv2.blur(window.astype(np.float32), (7, 7), borderType=cv2.BORDER_CONSTANT)
    count, settled = int(np.count_nonzero(window)), window.copy()
    growing = pixels > count
    free = window == 0
    if allowed is not None:
        free &= allowed
    candidates = np.flatnonzero(free if growing else window)
    scores = score.ravel()[candidates]
    change = min(abs(pixels - count), candidates.size)
    best = np.argpartition(-scores if growing else scores, change - 1)[:change]
    settled.ravel()[candidates[best]] = int(growing)
    return settled


def largest_component(window: np.ndarray) -> np.ndarray:
    """Return a window of 0/1 with its largest 8-connected component only."""
    # Nearly always there is one, without a hole: tracing it takes a tenth of labelling all pixels.
    contours, _ = cv2.findContours(window, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) <= 1:
        return window
    count, labels, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8)
    if count <= 2:
        return window
    return (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).view(np.uint8)


def trimmed(window: np.ndarray) -> np.ndarray:
    """Cut a window that is not empty to the box of what is set in it."""
    left, top, width, height = cv2.boundingRect(window)
    return window[top : top + height, left : left + width]


def put(
    window: np.ndarray, corner: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the slices of an image that a window at ``corner`` covers, and its part in there."""
    (top, left), (height, width) = corner, window.shape
    rows = slice(max(top, 0), min(top + height, size[0]))
    columns = slice(max(left, 0), min(left + width, size[1]))
    part = window[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (rows, columns), part
