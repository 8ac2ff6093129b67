"""A hole's surroundings as a template that is turned, scaled and searched for in a picture."""

import dataclasses

import cv2
import numpy as np

from rba.geometry import mask_box
from rba.inference.frames import Frame

_SMALLEST_MARGIN = 8  # pixels of the search
_FEWEST_PIXELS = 24  # pixels that must be visible around the hole
NOT_POSSIBLE = -np.inf


@dataclasses.dataclass(frozen=True)
class Template:
    """The window around the hole, turned and scaled.

    Attributes:
        pixels: nxnx3 float32.
        visible: nxn bool, what takes part.
        hole: nxn bool.
        matrix: 2x3, pixel indices of the frame to those of the window.
    """

    pixels: np.ndarray
    visible: np.ndarray
    hole: np.ndarray
    matrix: np.ndarray


def cut_template(image: Frame, scale: float, angle: float, surroundings: float) -> Template:
    """Cut the hole and its surroundings out of the image.

    Args:
        image: The whole image; its mask is the hole.
        scale: Pixels of the template for one of the frame.
        angle: Degrees, counter-clockwise.
        surroundings: Margin around the hole in sides of its box.
    """
    box = mask_box(image.mask)
    longest = max(box.width, box.height)
    side = longest + 2 * max(surroundings * longest, _SMALLEST_MARGIN)
    length = min(max(round(side * scale), 1), image.side)
    centre = ((box.x0 + box.x1) / 2 - 0.5, (box.y0 + box.y1) / 2 - 0.5)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += (length - 1) / 2 - np.array(centre)

    def warp(source: np.ndarray, method: int) -> np.ndarray:
        return cv2.warpAffine(source, matrix, (length, length), flags=method)

    hole = warp(image.mask.astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
    inside = warp(np.ones(image.mask.shape, np.uint8), cv2.INTER_NEAREST).astype(bool)
    pixels = warp(image.pixels.astype(np.float32), cv2.INTER_LINEAR)
    return Template(pixels, inside & ~hole, hole, matrix)


def correlate(target: np.ndarray, template: Template) -> np.ndarray | None:
    """Return the masked normalised correlation at every corner; None where none is possible.

    Args:
        target: HxWx3 float32.
        template: At most as large.

    Returns:
        [H - n + 1, W - n + 1] in [-1, 1].
    """
    fits = template.pixels.shape[0] <= min(target.shape[:2])
    if not fits or not template.hole.any() or template.visible.sum() < _FEWEST_PIXELS:
        return None
    visible = template.visible.astype(np.float32)
    scores = cv2.matchTemplate(target, template.pixels, cv2.TM_CCOEFF_NORMED, mask=visible)
    # Flat parts of the reference, such as the black around the object, divide 0 by 0.
    return np.where(np.isfinite(scores) & (np.abs(scores) <= 1.001), scores, -1.0)


def best_corner(scores: np.ndarray | None) -> tuple[float, tuple[int, int]]:
    """Return the best correlation and its corner (x, y); -inf where none is possible."""
    if scores is None:
        return NOT_POSSIBLE, (0, 0)
    y, x = divmod(int(np.argmax(scores)), scores.shape[1])
    return float(scores[y, x]), (x, y)
