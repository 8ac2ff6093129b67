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
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in ablation_table(ablations(report)).splitlines()
        if line.startswith("|") and "---" not in line
    ]
    alignment, refinement = rows[:3], rows[3:]
    assert [row[0] for row in alignment] == ["trained with", "alignment only", "shuffled"]
    model = report.metrics["alignment"]["model"]
    low, high = model["miou_interval"]
    _, samples, layer, miou, over_uniform, _ = alignment[1]
    assert (samples, layer) == ("12,000 alignment", "13")
    assert miou == f"{model['miou']:.3f} [{low:.3f}, {high:.3f}]"
    uniform = report.metrics["alignment"]["uniform"]["miou"]
    assert over_uniform.startswith(f"{model['miou'] / uniform:.2f} [")
    assert alignment[2][1:] == ["6,000 alignment, 6,000 refinement", *["not measured"] * 4]

    assert refinement[0][1:7] == [name.replace("_", " ") for name in CONDITIONS]
    psnr = {c: report.metrics["refinement"][c]["psnr_in_hole"] for c in CONDITIONS}
    for cell, value in zip(refinement[1][1:7], psnr.values(), strict=True):
        assert cell.startswith(f"{value:.2f} [")
    over_none = psnr["right_reference"] - psnr["no_reference"]
    assert refinement[0][-1] == "right minus no reference"
    assert refinement[1][-1].startswith(f"{over_none:.2f} [")


def test_the_figures_are_json_of_the_same_form(report: Report) -> None:
    figures = json.loads(json.dumps(ablation_figures(ablations(report)), allow_nan=False))
    assert list(figures) == ["alignment_only", "shuffled"]
    first = figures["alignment_only"]
    assert first["layer"] == 13
    assert first["alignment"]["hit_rate"] == report.metrics["alignment"]["model"]["hit_rate"]
    assert set(first["refinement"]) == set(CONDITIONS)
    psnr = report.metrics["refinement"]["true_region"]["psnr_in_hole_interval"]
    assert first["refinement"]["true_region"]["psnr_in_hole_interval"] == psnr
    assert first["comparisons"] == report.metrics["comparisons"]
    assert figures["shuffled"]["alignment"]["miou"] is None
