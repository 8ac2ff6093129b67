"""The report on a network with random weights: names, definitions, and what must hold for any."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.report import Report, evaluate, model_prediction
from rba.evaluation.scores import alignment_scores, case_truth, fidelity_scores, mean_scores
from rba.inference.frames import cells_on_reference
from rba.inference.request import RefinementSettings
from rba.metrics.fidelity import psnr_in_hole

CONDITIONS = (
    "right_reference",
    "true_region",
    "whole_reference",
    "wrong_reference",
    "no_reference",
)


def test_names_are_those_that_others_rely_on(report: Report) -> None:
    metrics = json.loads(json.dumps(report.metrics, allow_nan=False))
    assert metrics["num_pairs"] == 4
    assert set(metrics["alignment"]) == {
        "model",
        "uniform",
        "same_position",
        "cross_correlation",
    }
    for scores in metrics["alignment"].values():
        assert {"miou", "miou_interval", "hit_rate", "hit_rate_interval"} <= set(scores)
    assert set(metrics["refinement"]) == {"defect", *CONDITIONS}
    for scores in metrics["refinement"].values():
        names = {"psnr_in_hole", "ssim_in_hole"}
        assert set(scores) == names | {f"{name}_interval" for name in names}
    assert set(metrics["comparisons"]["alignment"]) == {
        "model_minus_same_position",
        "model_minus_cross_correlation",
        "model_over_uniform",
        "model_over_same_position",
    }
    assert set(metrics["comparisons"]["refinement"]) == {
        "right_reference_minus_defect",
        "right_reference_minus_wrong_reference",
        "right_reference_minus_no_reference",
        "right_reference_minus_whole_reference",
        "true_region_minus_right_reference",
    }
    assert set(metrics["subsets"]) == {"look_alikes", "no_look_alikes"}
    assert metrics["max_change_outside_mask"] == 0
    assert metrics["seconds"]["total"] > 0
    assert metrics["truth"]["median_share_of_reference"] > 0


def test_means_are_over_the_cases(report: Report, cases: list[Case]) -> None:
    defect = [psnr_in_hole(case.image, case.truth, case.artifact_mask) for case in cases[:3]]
    assert report.metrics["refinement"]["defect"]["psnr_in_hole"] == pytest.approx(np.mean(defect))
    right = [
        fidelity_scores(result.image, case)["ssim_in_hole"]
        for case, result in zip(cases, report.results, strict=False)
    ]
    found = report.metrics["refinement"]["right_reference"]["ssim_in_hole"]
    assert found == pytest.approx(np.mean(right))


def test_intervals_hold_their_mean(report: Report) -> None:
    groups = report.metrics["alignment"] | report.metrics["refinement"]
    for scores in groups.values():
        for name in ("miou", "psnr_in_hole"):
            if name in scores:
                low, high = scores[f"{name}_interval"]
                assert low <= scores[name] <= high
    low, high = report.metrics["refinement"]["defect"]["psnr_in_hole_interval"]
    assert low < high


def test_the_conditions_differ_by_their_reference_only(report: Report) -> None:
    values = [report.metrics["refinement"][name]["psnr_in_hole"] for name in CONDITIONS]
    assert len(set(values[1:])) == 4  # random maps may find the whole object


def test_comparisons_are_of_the_means(report: Report) -> None:
    metrics = report.metrics
    psnr = {name: scores["psnr_in_hole"] for name, scores in metrics["refinement"].items()}
    found = metrics["comparisons"]["refinement"]["true_region_minus_right_reference"]
    assert found["psnr_in_hole"] == pytest.approx(psnr["true_region"] - psnr["right_reference"])
    miou = {name: scores["miou"] for name, scores in metrics["alignment"].items()}
    ratio = metrics["comparisons"]["alignment"]["model_over_uniform"]["miou"]
    assert ratio == pytest.approx(miou["model"] / miou["uniform"])


def test_the_table_holds_what_the_means_are_of(report: Report, cases: list[Case]) -> None:
    assert [row.id for row in report.table] == [case.id for case in cases]
    rows = [row.to_row() for row in report.table]
    assert [row["look_alikes"] for row in rows] == [False, True, None, False]
    assert rows[0]["object"] == rows[3]["object"] == "object-000"
    ious = [row["iou_model"] for row in rows]
    assert np.mean(ious) == pytest.approx(report.metrics["alignment"]["model"]["miou"])
    psnr = [row["psnr_true_region"] for row in rows[:3]]
    expected = report.metrics["refinement"]["true_region"]["psnr_in_hole"]
    assert np.mean(psnr) == pytest.approx(expected)
    assert "psnr_true_region" not in rows[3]
    for row, case in zip(rows, cases, strict=True):
        assert case.correspondence_mask is not None  # the object fills the picture
        share = case.correspondence_mask.mean() / 1.2**2
        assert row["truth_share_of_reference"] == pytest.approx(share, rel=0.2)


def test_subsets_are_of_their_own_cases(report: Report) -> None:
    look_alikes = report.metrics["subsets"]["look_alikes"]
    others = report.metrics["subsets"]["no_look_alikes"]
    assert (look_alikes["num_pairs"], look_alikes["num_refined"]) == (1, 1)
    assert (others["num_pairs"], others["num_refined"]) == (2, 1)
    only = report.table[1]
    found = look_alikes["alignment"]["cross_correlation"]["miou"]
    assert found == pytest.approx(only.alignment["cross_correlation"]["miou"])


def test_a_perfect_map_scores_one(
    parts: tuple[Any, Any], cases: list[Case], report: Report
) -> None:
    alignment = report.results[0].alignment
    cells = np.zeros((16, 16), bool)
    cells[4:7, 5:9] = True
    perfect = dataclasses.replace(
        alignment, cells=cells, correspondence_map=cells.astype(np.float32), fallback=False
    )
    seen = cells_on_reference(cells, alignment.reference, *cases[0].references[0].shape[:2])
    soft = dataclasses.replace(cases[0], correspondence_mask=seen.astype(np.float32))
    truth = case_truth(soft, alignment.reference)
    assert truth is not None
    scores = alignment_scores(model_prediction(perfect), truth)
    assert scores == {
        "miou": 1.0,
        "hit_rate": 1.0,
        "box_miou": 1.0,
        "miou_at_truth_area": 1.0,
        "fallback_share": 0.0,
    }


def test_mistakes_are_named(
    parts: tuple[Any, Any], cases: list[Case], settings: RefinementSettings
) -> None:
    with pytest.raises(InputError, match="have no truth"):
        evaluate(*parts, [dataclasses.replace(cases[0], truth=None)], settings)
    unknown = [dataclasses.replace(case, correspondence_mask=None) for case in cases[:2]]
    with pytest.raises(InputError, match="no case has a known match"):
        evaluate(*parts, unknown, settings, num_refined=0)
    with pytest.raises(InputError, match="no other object"):
        evaluate(*parts, [cases[0]], settings)


def test_figures_that_are_not_finite_become_none() -> None:
    endless = mean_scores([{"psnr": 10.0}, {"psnr": float("inf")}])
    assert endless == {"psnr": None, "psnr_interval": None}
    assert mean_scores([]) == {}
