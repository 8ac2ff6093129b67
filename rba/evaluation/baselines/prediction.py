"""What every way of finding the region hands over, on the frame they share.

That frame is the complete reference as the network sees it (`rba.inference.frames`).
"""

import dataclasses

import cv2
import numpy as np

from rba.geometry import cells_to_pixels, crop, resize_mask
from rba.inference.frames import Frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """Where the artifact's content lies on the R x R reference.

    Attributes:
        correspondence_map: n x n, >= 0.
        mask: R x R bool.
        fallback: Nothing was found, so the mask is the whole object.
    """

    correspondence_map: np.ndarray
    mask: np.ndarray
    fallback: bool = False


def area_map(mask: np.ndarray, cells: int) -> np.ndarray:
    """Return the share of each of n x n cells that an R x R bool mask covers."""
    return cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)


def object_cells(frame: Frame, cells: int) -> np.ndarray:
    """Return the n x n bool cells that the reference's object touches."""
    return area_map(frame.mask, cells) > 0


def whole_object(frame: Frame, cells: int, *, fallback: bool) -> Prediction:
    """Predict the whole object, all of its cells equal."""
    touched = object_cells(frame, cells)
    return Prediction(
        correspondence_map=touched.astype(np.float32) / touched.sum(),
        mask=cells_to_pixels(touched, frame.side, frame.side),
        fallback=fallback,
    )


def region_prediction(region: np.ndarray, frame: Frame, cells: int) -> Prediction:
    """Predict a region of the original reference; where the frame shows none of it, the object.

    Args:
        region: hxw bool on the original reference.
        frame: The complete reference, R x R pixels.
        cells: n.
    """
    mask = resize_mask(crop(region, frame.box, fill=0), frame.side, frame.side)
    if not mask.any():
        return whole_object(frame, cells, fallback=True)
    return Prediction(correspondence_map=area_map(mask, cells), mask=mask)
