"""What every way of finding the region hands over, and the frame they share."""

import dataclasses

import cv2
import numpy as np

from rba.case import Case
from rba.geometry import cells_to_pixels
from rba.inference.frames import Frame, reference_frame


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


def case_frame(case: Case, size: int) -> Frame:
    """Return a case's first reference as the network would see it."""
    return reference_frame(case.references[0], case.reference_masks[0], size)


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
