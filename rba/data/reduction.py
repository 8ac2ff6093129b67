"""Pictures at 1/2, 1/4 and 1/8: JPEG's own scales, at which it decodes faster and shrinking is
nearly done.

Pixel (x, y) of a reduced picture covers the ``reduction`` x ``reduction`` pixels from
(x * reduction, y * reduction) of the whole one; the last row and column may be filled up.
"""

import cv2
import numpy as np

from rba.geometry import Box

REDUCTIONS = (8, 4, 2, 1)


def largest_reduction(shrinking: float) -> int:
    """Return the largest reduction that leaves a picture still to be shrunk, or just right.

    Args:
        shrinking: Pixels of the whole picture that become one pixel of the result, along an axis.
    """
    return next((value for value in REDUCTIONS if value <= shrinking), 1)


def on_grid(box: Box, reduction: int) -> Box:
    """Return the square, moved and cut by less than ``reduction`` pixels, made of whole cells."""
    x, y = box.x0 // reduction * reduction, box.y0 // reduction * reduction
    side = box.width // reduction * reduction
    return Box(x, y, x + side, y + side)


def reduced_box(box: Box, reduction: int) -> Box:
    """Return where a box of whole cells lies on the reduced picture."""
    return Box(*(edge // reduction for edge in (box.x0, box.y0, box.x1, box.y1)))


def reduce_picture(image: np.ndarray, reduction: int) -> np.ndarray:
    """Average an HxW or HxWxC picture over cells; cells beyond its edge repeat the edge."""
    if reduction == 1:
        return image
    below, right = (-length % reduction for length in image.shape[:2])
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // reduction, image.shape[0] // reduction)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def reduce_mask(mask: np.ndarray, reduction: int) -> np.ndarray:
    """Return which cells an HxW bool mask covers by at least half."""
    if reduction == 1:
        return mask
    return reduce_picture(mask.astype(np.float32), reduction) >= 0.5
