"""The report on a network with random weights: names, definitions, and what must hold for any."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.report import evaluate, model_prediction
from rba.evaluation.scores import alignment_scores, case_truth, fidelity_scores, mean_scores
from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases
from rba.inference.align import AlignmentSettings
from rba.inference.request import RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.metrics.fidelity import psnr_in_hole

SETTINGS = RefinementSettings(
    sampler=SamplerSettings(num_inference_steps=1),
    alignment=AlignmentSettings(num_inference_steps=1),
    batch_size=3,
)


@pytest.fixture(scope="module")
def cases(objects: Path) -> list[Case]:
    return list(synthetic_cases(objects, 4, SyntheticSettings()))


@pytest.fixture(scope="module")
def report(parts: tuple[Any, Any], cases: list[Case]) -> Any:
    seen: list[tuple[str, int, int]] = []
    result = evaluate(
        *parts, cases, SETTINGS, num_refined=3, progress=lambda *args: seen.append(args)
    )
    assert seen[:2] == [("align", 3, 4), ("align", 4, 4)]
    return result


def test_names_are_those_that_others_rely_on(report: Any) -> None:
    metrics = json.loads(json.dumps(report.metrics, allow_nan=False))
    assert metrics["num_pairs"] == 4
    assert set(metrics["alignment"]) == {
        "model",
        "uniform",
        "same_position",
        "cross_correlation",
    }
    for scores in metrics["alignment"].values():
        assert {"miou", "hit_rate"} <= set(scores)
    assert set(metrics["refinement"]) == {
        "defect",
        "right_reference",
        "wrong_reference",
        "no_reference",
    }
    for scores in metrics["refinement"].values():
        assert set(scores) == {"psnr_in_hole", "ssim_in_hole"}
    assert metrics["max_change_outside_mask"] == 0
    assert metrics["seconds"]["total"] > 0
    assert metrics["truth"]["median_share_of_reference"] > 0


def test_means_are_over_the_cases(report: Any, cases: list[Case]) -> None:
    defect = [psnr_in_hole(case.image, case.truth, case.artifact_mask) for case in cases[:3]]
    assert report.metrics["refinement"]["defect"]["psnr_in_hole"] == pytest.approx(np.mean(defect))
    right = [
        fidelity_scores(result.image, case)["ssim_in_hole"]
        for case, result in zip(cases, report.results, strict=False)
    ]
    found = report.metrics["refinement"]["right_reference"]["ssim_in_hole"]
    assert found == pytest.approx(np.mean(right))


def test_the_conditions_differ_by_their_reference_only(report: Any) -> None:
    values = [
        report.metrics["refinement"][name]["psnr_in_hole"]
        for name in ("right_reference", "wrong_reference", "no_reference")
    ]
    assert len(set(values)) == 3


def test_a_perfect_map_scores_one(parts: tuple[Any, Any], cases: list[Case], report: Any) -> None:
    alignment = report.results[0].alignment
    side = alignment.reference.side
    cells = np.zeros((16, 16), bool)
    cells[4:7, 5:9] = True
    perfect = dataclasses.replace(
        alignment, cells=cells, correspondence_map=cells.astype(np.float32), fallback=False
    )
    soft = np.kron(cells, np.ones((6, 6), np.float32)).astype(np.float32)
    truth = case_truth(dataclasses.replace(cases[0], correspondence_mask=soft), side)
    assert truth is not None
    scores = alignment_scores(model_prediction(perfect), truth)
    assert scores == {
        "miou": 1.0,
        "hit_rate": 1.0,
        "box_miou": 1.0,
        "miou_at_truth_area": 1.0,
        "fallback_share": 0.0,
    }


def test_mistakes_are_named(parts: tuple[Any, Any], cases: list[Case]) -> None:
    with pytest.raises(InputError, match="have no truth"):
        evaluate(*parts, [dataclasses.replace(cases[0], truth=None)], SETTINGS)
    unknown = [dataclasses.replace(case, correspondence_mask=None) for case in cases[:2]]
    with pytest.raises(InputError, match="no case has a known match"):
        evaluate(*parts, unknown, SETTINGS, num_refined=0)
    with pytest.raises(InputError, match="no other object"):
        evaluate(*parts, [cases[0]], SETTINGS)


def test_figures_that_are_not_finite_become_none() -> None:
    assert mean_scores([{"psnr": 10.0}, {"psnr": float("inf")}]) == {"psnr": None}
    assert mean_scores([]) == {}
