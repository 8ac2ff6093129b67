"""Means, comparisons and subsets of a table that is made up."""

import csv
import math
from pathlib import Path

import pytest

from rba.evaluation.comparison import figures, look_alike_figures
from rba.evaluation.table import CaseScores, write_csv


def row(
    index: int,
    *,
    model: float | None = None,
    same: float = 0.1,
    right: float | None = None,
    look_alikes: bool | None = None,
) -> CaseScores:
    scores = {} if model is None else {"model": model, "same_position": same}
    dbs = {} if right is None else {"defect": 10.0, "right_reference": right}
    return CaseScores(
        id=f"case {index}",
        object_name="cup, blue",
        look_alikes=look_alikes,
        artifact_share=0.01,
        truth_share_of_reference=None if model is None else 0.02,
        truth_share_of_object=None,
        alignment={name: {"miou": value, "hit_rate": 1.0} for name, value in scores.items()},
        refinement={name: {"psnr_in_hole": value} for name, value in dbs.items()},
    )


def test_comparisons_are_paired() -> None:
    """A constant gain on cases that differ widely has an interval of no width."""
    rows = [row(i, model=0.2 + 0.1 * i, same=0.1 * i, right=10.0 + i) for i in range(6)]
    found = figures(rows)
    gain = found["comparisons"]["alignment"]["model_minus_same_position"]
    assert gain["miou"] == pytest.approx(0.2)
    assert gain["miou_interval"] == pytest.approx([0.2, 0.2])
    low, high = found["alignment"]["model"]["miou_interval"]
    assert high - low > 0.1
    over = found["comparisons"]["alignment"]["model_over_same_position"]["miou"]
    assert over == pytest.approx(0.45 / 0.25)  # of the means, not the mean of ratios
    assert found["comparisons"]["refinement"]["right_reference_minus_defect"][
        "psnr_in_hole"
    ] == pytest.approx(2.5)
    assert "right_reference_minus_no_reference" not in found["comparisons"]["refinement"]


def test_cases_without_a_figure_are_left_out_of_it() -> None:
    found = figures([row(0, model=0.5), row(1, right=12.0), row(2, model=0.7, right=14.0)])
    assert (found["num_pairs"], found["num_refined"]) == (2, 2)
    assert found["alignment"]["model"]["miou"] == pytest.approx(0.6)
    assert found["refinement"]["right_reference"]["psnr_in_hole"] == pytest.approx(13.0)


def test_subsets_are_those_that_say_so() -> None:
    rows = [row(0, model=0.5, look_alikes=True), row(1, model=0.9), row(2, model=0.7)]
    found = look_alike_figures(rows)
    assert set(found) == {"look_alikes"}
    assert found["look_alikes"]["alignment"]["model"]["miou"] == 0.5
    assert look_alike_figures(rows[1:]) == {}


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    rows = [row(0, model=0.5), row(1, right=math.inf), row(2, model=1 / 3, right=14.0)]
    write_csv(tmp_path / "cases.csv", [case.to_row() for case in rows])
    with (tmp_path / "cases.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [line["id"] for line in read] == ["case 0", "case 1", "case 2"]
    assert [line["object"] for line in read] == ["cup, blue"] * 3
    assert [line["iou_model"] for line in read] == ["0.5", "", "0.333333"]
    assert [line["psnr_right_reference"] for line in read] == ["", "", "14"]
    assert read[0]["look_alikes"] == ""
