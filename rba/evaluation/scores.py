"""Figures of one case, and their means with intervals over many."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction
from rba.inference.frames import Frame, mask_in_frame
from rba.metrics.bootstrap import Interval, mean_interval
from rba.metrics.fidelity import psnr_in_hole, ssim_in_hole
from rba.metrics.region import box_iou, hit, iou, iou_at_area, truth_mask

Scores = dict[str, float]
Figures = dict[str, float | list[float] | None]
"""For each name its mean, and ``NAME_interval``, [low, high]; None where it is not finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one case on the R x R reference.

    Attributes:
        region: R x R bool, ``correspondence_mask >= 0.5``.
        object_mask: R x R bool.
    """

    region: np.ndarray
    object_mask: np.ndarray


def case_truth(case: Case, frame: Frame) -> Truth | None:
    """Return a case's truth on the R x R reference; None where no match is known.

    Args:
        case: The case.
        frame: The complete reference as the network sees it. A truth that is too small to cover
            half of any pixel of it counts as unknown.
    """
    if case.correspondence_mask is None:
        return None
    region = truth_mask(mask_in_frame(case.correspondence_mask, frame))
    return Truth(region=region, object_mask=frame.mask) if region.any() else None


def alignment_scores(prediction: Prediction, truth: Truth) -> Scores:
    """Score one predicted region (definitions: `rba.metrics.region`)."""
    return {
        "miou": iou(prediction.mask, truth.region),
        "hit_rate": hit(prediction.correspondence_map, truth.region),
        "box_miou": box_iou(prediction.mask, truth.region),
        "miou_at_truth_area": iou_at_area(prediction.correspondence_map, truth.region),
        "fallback_share": float(prediction.fallback),
    }


def fidelity_scores(image: np.ndarray, case: Case) -> Scores:
    """Score one picture against the truth over the artifact mask's pixels."""
    assert case.truth is not None
    return {
        "psnr_in_hole": psnr_in_hole(image, case.truth, case.artifact_mask),
        "ssim_in_hole": ssim_in_hole(image, case.truth, case.artifact_mask),
    }


def mean_scores(scores: Sequence[Scores], seed: int = 0) -> Figures:
    """Return the mean of each figure over the cases, with its interval; nothing of no case."""
    figures: Figures = {}
    for name in scores[0] if scores else ():
        figures |= interval_figures(
            name, mean_interval([score[name] for score in scores], seed=seed)
        )
    return figures


def interval_figures(name: str, interval: Interval) -> Figures:
    """Return a figure and its interval for JSON."""
    bounds = [interval.low, interval.high]
    return {
        name: finite(interval.value),
        f"{name}_interval": bounds if all(math.isfinite(bound) for bound in bounds) else None,
    }


def median(values: Iterable[float]) -> float | None:
    """Return the median, None of nothing."""
    listed = list(values)
    return finite(np.median(listed)) if listed else None


def finite(value: float | np.floating) -> float | None:
    """Return a plain float for JSON, None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None
