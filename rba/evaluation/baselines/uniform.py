"""Uniform attention: all cells of the object are equal."""

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, case_frame, whole_object


def uniform(case: Case, size: int, cells: int) -> Prediction:
    """Predict the whole object; its hit rate is the chance of a hit by a random cell.

    Args:
        case: The case.
        size: R in pixels.
        cells: n.
    """
    return whole_object(case_frame(case, size), cells, fallback=False)
