"""Same position: the artifact mask copied into the reference's frame."""

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, region_prediction
from rba.geometry import resize_mask
from rba.inference.frames import Frame


def same_position(case: Case, frame: Frame, cells: int) -> Prediction:
    """Stretch the artifact mask from the image to the reference picture, and cut the frame out.

    A mask that lies wholly outside the frame predicts the whole object.

    Args:
        case: The case.
        frame: The complete reference, R x R pixels.
        cells: n.
    """
    height, width = case.references[0].shape[:2]
    copied = resize_mask(case.artifact_mask, height, width)
    return region_prediction(copied, frame, cells)
