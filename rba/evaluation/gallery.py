"""Panels of a report: the first cases as they come, and the worst ones."""

from collections.abc import Sequence

import numpy as np

from rba.evaluation.conditions import RIGHT
from rba.evaluation.report import Report
from rba.evaluation.table import CaseScores
from rba.inference.panel import panel


def first_cases(report: Report, count: int = 12) -> np.ndarray:
    """Show the first cases that were refined, unselected: HxWx3 uint8."""
    shown = range(min(count, len(report.results)))
    return _panel(report, shown, [_caption(report.table[index]) for index in shown])


def worst_cases(report: Report, count: int = 6) -> np.ndarray:
    """Show the cases that gained least, worst first: HxWx3 uint8.

    They are ranked by the PSNR in the hole with the right reference minus that of the defect.
    """
    gains = [psnr_gain(case) for case in report.table[: len(report.results)]]
    order = [int(index) for index in np.argsort(gains, kind="stable")[:count]]
    captions = [
        f"worst {rank} of {len(gains)} by PSNR gain over the defect ({gains[index]:+.1f} dB): "
        f"{_caption(report.table[index])}"
        for rank, index in enumerate(order, 1)
    ]
    return _panel(report, order, captions)


def psnr_gain(case: CaseScores) -> float:
    """Return what refining with the right reference gained over the defect in the hole, dB."""
    scores = case.refinement
    return scores[RIGHT]["psnr_in_hole"] - scores["defect"]["psnr_in_hole"]


def _panel(report: Report, indices: Sequence[int], captions: Sequence[str]) -> np.ndarray:
    return panel(
        [report.cases[index] for index in indices],
        [report.results[index] for index in indices],
        captions,
    )


def _caption(case: CaseScores) -> str:
    shown = [case.id]
    if case.alignment:
        shown.append(f"IoU {case.alignment['model']['miou']:.2f}")
    scores = case.refinement
    words = {"defect": "defect", RIGHT: "right", "wrong_reference": "wrong", "no_reference": "none"}
    dbs = " ".join(f"{word} {scores[name]['psnr_in_hole']:.1f}" for name, word in words.items())
    return "   ".join([*shown, f"PSNR dB: {dbs}"])
