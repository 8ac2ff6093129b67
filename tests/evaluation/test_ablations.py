"""The table of ablations, and the same figures as JSON."""

import json

from rba.evaluation.ablations import Ablation, ablation_figures, ablation_table
from rba.evaluation.conditions import CONDITIONS
from rba.evaluation.report import Report


def ablations(report: Report) -> list[Ablation]:
    return [
        Ablation(
            name="alignment_only",
            samples={"alignment": 12000, "refinement": 0},
            metrics={**report.metrics, "calibration": {"layer": 13}},
        ),
        Ablation(name="shuffled", samples={"alignment": 6000, "refinement": 6000}, metrics={}),
    ]


def test_a_row_an_ablation_with_intervals(report: Report) -> None:
    lines = ablation_table(ablations(report)).splitlines()
    head, first, second = lines[-4], lines[-2], lines[-1]
    assert [cell.strip() for cell in head.strip("|").split("|")][5:] == [
        name.replace("_", " ") for name in CONDITIONS
    ]
    model = report.metrics["alignment"]["model"]
    low, high = model["miou_interval"]
    assert first.startswith("| alignment only | 12,000 alignment | 13 |")
    assert f"{model['miou']:.3f} [{low:.3f}, {high:.3f}]" in first
    assert f"{report.metrics['refinement']['no_reference']['psnr_in_hole']:.2f} [" in first
    assert second.startswith("| shuffled | 6,000 alignment, 6,000 refinement | not measured |")


def test_the_figures_are_json_of_the_same_form(report: Report) -> None:
    figures = json.loads(json.dumps(ablation_figures(ablations(report)), allow_nan=False))
    assert list(figures) == ["alignment_only", "shuffled"]
    first = figures["alignment_only"]
    assert first["layer"] == 13
    assert first["alignment"]["hit_rate"] == report.metrics["alignment"]["model"]["hit_rate"]
    assert set(first["refinement"]) == set(CONDITIONS)
    psnr = report.metrics["refinement"]["true_region"]["psnr_in_hole_interval"]
    assert first["refinement"]["true_region"]["psnr_in_hole_interval"] == psnr
    assert figures["shuffled"]["alignment"]["miou"] is None
