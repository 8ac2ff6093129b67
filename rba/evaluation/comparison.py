"""Means with intervals over a set of cases, and the comparisons that the method stands or falls by.

Comparisons are paired: each resample draws cases and takes both methods on them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rba.evaluation.conditions import RIGHT
from rba.evaluation.scores import Figures, Scores, interval_figures, mean_scores
from rba.evaluation.table import CaseScores
from rba.metrics.bootstrap import paired_interval

Kind = Literal["difference", "ratio"]
ALIGNMENT_PAIRS: tuple[tuple[str, Kind, str], ...] = (
    ("model", "difference", "same_position"),
    ("model", "difference", "cross_correlation"),
    ("model", "ratio", "uniform"),
    ("model", "ratio", "same_position"),
)
REFINEMENT_PAIRS: tuple[tuple[str, Kind, str], ...] = (
    (RIGHT, "difference", "defect"),
    (RIGHT, "difference", "wrong_reference"),
    (RIGHT, "difference", "no_reference"),
    (RIGHT, "difference", "whole_reference"),
    ("true_region", "difference", RIGHT),
)
_WORD = {"difference": "minus", "ratio": "over"}


def figures(cases: Sequence[CaseScores], seed: int = 0) -> dict[str, Any]:
    """Return all figures over a set of cases.

    Args:
        cases: At least one.
        seed: Keys the resamples.

    Returns:
        ``num_pairs`` with a known match, ``num_refined``; means with intervals by method under
        ``alignment``, by condition under ``refinement``; under ``comparisons`` the mean IoU and the
        PSNR in the hole (dB) of one method against another, ``A_minus_B`` or ``A_over_B``.
    """
    alignment = [case.alignment for case in cases if case.alignment]
    refinement = [case.refinement for case in cases if case.refinement]
    return {
        "num_pairs": len(alignment),
        "num_refined": len(refinement),
        "alignment": _means(alignment, seed),
        "refinement": _means(refinement, seed),
        "comparisons": {
            "alignment": _compare(alignment, ALIGNMENT_PAIRS, "miou", seed),
            "refinement": _compare(refinement, REFINEMENT_PAIRS, "psnr_in_hole", seed),
        },
    }


def look_alike_figures(cases: Sequence[CaseScores], seed: int = 0) -> dict[str, Any]:
    """Return `figures` of the cases with look-alike places and of those without.

    Returns:
        ``look_alikes`` and ``no_look_alikes``; a group without cases, or whose cases do not say, is
        left out.
    """
    groups = {
        name: [case for case in cases if case.look_alikes is wanted]
        for name, wanted in (("look_alikes", True), ("no_look_alikes", False))
    }
    return {name: figures(group, seed) for name, group in groups.items() if group}


def pair_name(first: str, kind: Kind, second: str) -> str:
    """Return a comparison's name, ``A_minus_B`` or ``A_over_B``."""
    return f"{first}_{_WORD[kind]}_{second}"


def _means(cases: Sequence[Mapping[str, Scores]], seed: int) -> dict[str, Figures]:
    names = dict.fromkeys(name for case in cases for name in case)
    return {
        name: mean_scores([case[name] for case in cases if name in case], seed) for name in names
    }


def _compare(
    cases: Sequence[Mapping[str, Scores]],
    pairs: Sequence[tuple[str, Kind, str]],
    figure: str,
    seed: int,
) -> dict[str, Figures]:
    compared: dict[str, Figures] = {}
    for first, kind, second in pairs:
        both = [case for case in cases if first in case and second in case]
        if both:
            ones, others = ([case[name][figure] for case in both] for name in (first, second))
            interval = paired_interval(ones, others, kind, seed=seed)
            compared[pair_name(first, kind, second)] = interval_figures(figure, interval)
    return compared
