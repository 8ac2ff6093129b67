"""Sweeps: what is run, what is kept, how several right regions count, what is drawn."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.methods import Defect, MethodResult, untouched
from rba.evaluation.robustness import METRICS, Robustness, make_points, score_best, summarise
from rba.evaluation.robustness_pictures import draw_examples, draw_sweeps
from rba.evaluation.scoring import ScoringSettings, make_metrics
from rba.evaluation.sweep_cases import Condition, SweepCase, SweepRenderer, SweepSettings

SCORING = make_metrics(ScoringSettings())


@dataclasses.dataclass
class Known:
    """Knows the region that its mark names, and cannot serve case 0."""

    which: int = 0
    calls: int = 0
    name: str = "known"
    description: str = "Knows."

    def settings(self) -> Mapping[str, object]:
        return {}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        self.calls += len(cases)
        for case, number in zip(cases, numbers, strict=True):
            assert int(case.id) == number
            assert case.correspondence_mask is not None
            if number == 0:
                yield untouched(case, "no")
            else:
                assert case.truth is not None
                region = case.correspondence_mask >= 0.5
                yield MethodResult(image=case.truth, region=region)


@pytest.fixture(scope="module")
def renderer() -> SweepRenderer:
    return SweepRenderer(SweepSettings(size=64, split="heldout"))


def run(
    renderer: SweepRenderer, folder: Path, methods: Sequence[Any], **sweeps: list[float]
) -> list[dict[str, Any]]:
    steps: list[int] = []
    points = make_points(Condition(), sweeps)
    runner = Robustness(renderer, SCORING, 3, 2, folder)
    rows = runner.run(points, methods, steps.append)
    assert sum(steps) == 3 * len(points) * len(methods)
    return rows


def test_each_method_is_scored_at_each_point_once(renderer: SweepRenderer, tmp_path: Path) -> None:
    known = Known()
    sweeps = {"view_angle": [15.0, 40.0], "light": [0.25]}
    rows = run(renderer, tmp_path, [known, Defect()], **sweeps)
    assert [(r["sweep"], r["value"], r["method"]) for r in rows[::2]] == [
        ("view_angle", 15.0, "known"),
        ("view_angle", 40.0, "known"),
        ("light", 0.25, "known"),
    ]
    assert known.calls == 6  # the middle is a point of both sweeps
    first, defect = rows[:2]
    assert first["fallbacks"] == 1
    assert first["iou_mask"] == 1.0
    assert first["iou_mask_n"] == 2
    assert first["psnr_hole_db_n"] == 3
    assert defect["iou_mask"] is None
    assert defect["psnr_hole_db"] < first["psnr_hole_db"]
    assert rows[4] | {"sweep": ""} == first | {"sweep": "", "value": 0.25}
    again = run(renderer, tmp_path, [known, Defect()], **sweeps)
    assert known.calls == 6
    assert again == rows


def test_the_best_of_several_right_regions_counts(renderer: SweepRenderer) -> None:
    made = renderer.render(Condition(equal_objects=4), 1)
    assert made.case.truth is not None
    for region in made.regions:
        result = MethodResult(image=made.case.truth, region=region)
        assert score_best(SCORING, made, result)["iou_mask"] == 1.0
    both = made.regions[0] | made.regions[3]
    half = score_best(SCORING, made, MethodResult(image=made.case.image, region=both))
    assert half["iou_mask"] == pytest.approx(0.5, abs=0.1)
    alone = SweepCase(case=made.case, regions=made.regions[:1])
    wrong = MethodResult(image=made.case.image, region=made.regions[3])
    assert score_best(SCORING, alone, wrong)["iou_mask"] == 0.0


def test_means_and_intervals_are_over_what_is_defined() -> None:
    scores = [
        {"fallback": False, "iou_mask": x, "hit": None, "psnr_hole_db": 10.0} for x in (0.2, 0.4)
    ]
    row = summarise([*scores, {**scores[0], "fallback": True, "iou_mask": None}])
    assert row["cases"] == 3
    assert row["fallbacks"] == 1
    assert row["iou_mask"] == pytest.approx(0.3)
    assert row["iou_mask_n"] == 2
    assert row["iou_mask_low"] == pytest.approx(0.2)
    assert row["iou_mask_high"] == pytest.approx(0.4)
    assert row["hit"] is None
    assert row["hit_low"] is None


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        ({"height": [1.0]}, "sweep height"),
        ({"scale": []}, "sweep scale"),
        ({"scale": [2.0, 1.0]}, "rising"),
        ({"scale": [1.0, 9.0]}, "scale 9"),
    ],
)
def test_sweeps_that_are_none_are_named(sweeps: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_points(Condition(), sweeps)


def test_curves_and_examples_are_drawn(renderer: SweepRenderer) -> None:
    interval = {f"{name}_{end}": 0.5 for name in METRICS for end in ("low", "high")}
    rows = [
        {
            "sweep": sweep,
            "value": value,
            "method": method,
            **dict.fromkeys(METRICS, 0.5),
            **interval,
        }
        for sweep in ("scale", "light")
        for value in (0.5, 1.0)
        for method in ("ours", "defect")
    ]
    rows += [{**rows[0], "method": "defect", "iou_mask": None, "value": 2.0}]
    drawn = draw_sweeps(rows)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == 1100
    one = draw_sweeps([row for row in rows if row["sweep"] == "light"])
    assert one.shape[0] < drawn.shape[0]
    ours = np.array([0x00, 0x72, 0xB2])
    assert (drawn == ours).all(axis=-1).any()
    points = make_points(Condition(), {"light": [0.0], "scale": [0.5, 1.0]})
    assert draw_examples(renderer, points).shape == (2 * 112, 4 * 112, 3)
