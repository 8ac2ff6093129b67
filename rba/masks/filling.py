"""A shape as it lies in the image: a form with its knobs set, turned, filled with pixels."""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from rba.masks.catalogue import as_contour, stretched
from rba.masks.shapes import Form

_SUBPIXEL_BITS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """The border of the image cuts a shape: which side, and the share of its extent that goes."""

    side: int
    share: float


@dataclasses.dataclass
class Shape:
    """A form with its knobs (bend, fray, log of the short side's stretch) set, turned twice.

    Attributes:
        form: The form.
        knobs: Their values.
        frame: Unit number that turns the form's long side to the x axis.
        turn: Unit number that turns the stretched form to its angle in the image.
        cut: Where the border of the image cuts it.
        gain: What the wanted area is multiplied with to get it.
    """

    form: Form
    knobs: np.ndarray
    frame: complex
    turn: complex = 1.0 + 0.0j
    cut: Cut | None = None
    gain: float = 1.0

    def outline(self) -> np.ndarray:
        """Return the complex outline at its final angle, in the form's own units."""
        bend, fray, stretch = self.knobs.tolist()
        return stretched(self.form.outline(bend, fray) * self.frame, stretch) * self.turn

    def raster(self, pixels: float, longest: float = np.inf) -> np.ndarray:
        """Return the shape in its box, HxW uint8 0/1, of about ``pixels`` pixels.

        Args:
            pixels: Wanted area; what `gain` corrects is what the outline alone does not tell.
            longest: A larger extent is scaled down to this one.
        """
        outline = self.outline()
        contour = as_contour(outline)
        scale = scale_for(contour, pixels * self.gain)
        points = contour[:, 0] * np.float32(scale)
        if math.isfinite(longest):
            extent = float((points.max(axis=0) - points.min(axis=0)).max())
            points *= np.float32(min(1.0, longest / max(extent, 1e-9)))
        return fill(self.form.pieces, points, self.cut)


def scale_for(contour: np.ndarray, pixels: float) -> float:
    """Return the factor at which a filled contour covers ``pixels`` pixels.

    Filling takes the pixels on the contour as well: A s^2 + P s / 2 + 1.
    """
    area = max(cv2.contourArea(contour), 1e-9)
    half = 0.25 * cv2.arcLength(contour, closed=True)
    rest = max(pixels - 1.0, 0.0)
    return (np.sqrt(half**2 + area * rest) - half) / area


def fill(
    pieces: Callable[[np.ndarray], list[np.ndarray]], points: np.ndarray, cut: Cut | None = None
) -> np.ndarray:
    """Fill an outline's points (Nx2, pixels) in the smallest window that holds them."""
    cells = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    left, top, width, height = cv2.boundingRect(cells)
    low, high = np.array((left, top)), np.array((left + width - 1, top + height - 1))
    if cut is not None:
        axis, far = cut.side % 2, cut.side // 2
        gone = round(float(high[axis] - low[axis]) * cut.share)
        if far:
            high[axis] -= gone
        else:
            low[axis] += gone
    corner = (low + 2 ** (_SUBPIXEL_BITS - 1)) >> _SUBPIXEL_BITS
    end = (high + 2 ** (_SUBPIXEL_BITS - 1)) >> _SUBPIXEL_BITS
    cells -= corner << _SUBPIXEL_BITS
    width, height = (end - corner + 1).tolist()
    window = np.zeros((height, width), np.uint8)
    for piece in pieces(cells):
        cv2.fillPoly(window, [piece], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return window
