"""Uniform attention: all cells of the object are equal."""

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, whole_object
from rba.inference.frames import Frame


def uniform(_case: Case, frame: Frame, cells: int) -> Prediction:
    """Predict the whole object; its hit rate is the chance of a hit by a random cell.

    Args:
        _case: The case, which this rule does not look at.
        frame: The complete reference, R x R pixels.
        cells: n.
    """
    return whole_object(frame, cells, fallback=False)
