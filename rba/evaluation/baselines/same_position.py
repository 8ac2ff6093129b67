"""Same position: the artifact mask copied into the reference's frame."""

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, area_map, case_frame
from rba.geometry import crop, resize_mask


def same_position(case: Case, size: int, cells: int) -> Prediction:
    """Stretch the artifact mask from the image's frame to the reference's.

    Args:
        case: The case.
        size: R in pixels.
        cells: n.
    """
    frame = case_frame(case, size)
    height, width = case.references[0].shape[:2]
    copied = resize_mask(case.artifact_mask, height, width)
    mask = resize_mask(crop(copied, frame.box, fill=0), size, size)
    return Prediction(correspondence_map=area_map(mask, cells), mask=mask)
