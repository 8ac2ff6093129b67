"""Gamma case by case: equal to `calibrate`, its curves, and how sure the choice is."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from rba.attention.region import correspondence_mask
from rba.errors import InputError
from rba.evaluation.bench_calibration import (
    CalibrationRequest,
    calibrate_split,
    half_split,
    require_regions,
    stored_choice,
)
from rba.evaluation.calibration import case_batches
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.grid_scores import FIGURES, GridScores, score_grid
from rba.evaluation.models import LazyModel
from rba.evaluation.network_methods import NetworkNumbers
from rba.geometry import mask_to_queries
from rba.inference.grid import GridSettings, batch_grid, calibrate
from rba.inference.request import RefinementSettings
from rba.pictures import read_image


@pytest.fixture(scope="module")
def cases(bench: Path) -> CaseSet:
    return open_case_set(bench)


@pytest.fixture(scope="module")
def grid(parts: tuple[Any, Any], cases: CaseSet) -> GridScores:
    return score_grid(*parts, batches(parts, cases), SETTINGS)


SETTINGS = GridSettings(num_inference_steps=4, steps=(0, 2), seed=5)


def batches(parts: tuple[Any, Any], cases: CaseSet) -> Any:
    read = [cases.read(facts) for facts in cases.cases]
    return case_batches(parts[0], read, RefinementSettings(batch_size=2))


def test_the_grid_is_that_of_calibrate(
    parts: tuple[Any, Any], cases: CaseSet, grid: GridScores
) -> None:
    expected = calibrate(*parts, batches(parts, cases), SETTINGS)
    assert grid.scores.shape == (4, len(FIGURES), 2, 16)  # the fifth case has no known region
    assert np.array_equal(grid.calibration.scores, expected.scores)
    assert grid.calibration.best == expected.best


def test_pck_asks_for_the_middle_of_the_region(
    parts: tuple[Any, Any], cases: CaseSet, grid: GridScores
) -> None:
    batch = next(iter(batches(parts, cases)))
    maps = batch_grid(*parts, batch, SETTINGS)
    values = grid.scores[:, FIGURES.index("pck_0.1")]
    assert 0.0 < values.mean() < 1.0
    for case, (row, layer) in itertools.product(range(2), itertools.product(range(2), range(16))):
        inside = mask_to_queries(batch.reference_mask, 16)[case].numpy() > 0
        cells = correspondence_mask(maps[case, row, layer].numpy(), inside, SETTINGS.region).mask
        truth = batch.correspondence_mask[case, 0].numpy() >= 0.5
        side = truth.shape[0] // 16
        apart = np.subtract(
            center_of_mass(np.kron(cells, np.ones((side, side)))), center_of_mass(truth)
        )
        rows, columns = (
            np.ptp(np.nonzero(batch.reference_mask[case, 0].numpy())[k]) for k in (0, 1)
        )
        reach = 0.1 * (1 + max(rows, columns))
        assert values[case, row, layer] == (np.hypot(*apart) <= reach)


def test_the_figures_of_the_best_cell_and_the_curves(grid: GridScores) -> None:
    facts = grid.to_dict()
    step, layer = grid.calibration.best
    chosen = grid.scores[:, :, grid.steps.index(step), layer].mean(axis=0)
    assert [facts["best"][name]["mean"] for name in FIGURES] == pytest.approx(list(chosen))
    curves = grid.curves()
    assert len(curves) == len(FIGURES) * 2 * (2 + 16)
    at_best = [
        row["mean"]
        for row in curves
        if row["figure"] == "hit" and row["over"] == "chosen" and row["place"] == layer
        if row["axis"] == "layer"
    ]
    assert at_best == pytest.approx([chosen[FIGURES.index("hit")]])


def test_certainty_tells_a_clear_choice_from_a_lucky_one() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.3, 0.05, (40, len(FIGURES), 2, 16))
    clear = noise.copy()
    clear[:, :, 1, 9] += 0.3
    sure = GridScores(scores=clear, steps=(0, 5), num_inference_steps=10).to_dict()
    assert (sure["sampler_step_index"], sure["layer"]) == (5, 9)
    assert sure["certainty"]["same_cell_share"] == 1.0
    assert sure["certainty"]["best_minus_second"]["low"] > 0.1
    unsure = GridScores(scores=noise, steps=(0, 5), num_inference_steps=10).to_dict()
    assert unsure["certainty"]["same_cell_share"] < 0.9
    assert unsure["certainty"]["best_minus_second"]["low"] < 0.0


def test_halves_share_no_object(cases: CaseSet) -> None:
    for seed in range(3):
        first, second = half_split(cases, seed)
        assert len(first.cases) + len(second.cases) == 5
        names = [{case.object_name for case in half.cases} for half in (first, second)]
        assert not names[0] & names[1]
        assert half_split(cases, seed) == (first, second)
    assert len({tuple(c.id for c in half_split(cases, seed)[0].cases) for seed in range(8)}) > 1


def test_cases_without_a_region_cannot_be_calibrated_on(cases: CaseSet) -> None:
    with pytest.raises(InputError, match="1 object and cannot be halved"):
        half_split(cases.part([0, 3]), 0)
    with pytest.raises(InputError, match=r"--x: no case .*correspondence\.png"):
        require_regions(cases.part([4]), "--x")


def test_a_choice_is_stored_with_what_it_depends_on(
    cases: CaseSet, model_folder: Path, tmp_path: Path
) -> None:
    model = LazyModel(model_folder, torch.device("cpu"))
    numbers = NetworkNumbers(settings=RefinementSettings(batch_size=4)).resolved(model)
    request = CalibrationRequest(
        cases=cases, option="--calibrate-on five", model=model, settings=numbers, steps=(0,)
    )
    assert stored_choice(tmp_path, request) is None
    made = calibrate_split(request, tmp_path)
    assert stored_choice(tmp_path, request) == made
    other = CalibrationRequest(
        cases=cases, option="--calibrate-on five", model=model, settings=numbers, steps=(1,)
    )
    assert stored_choice(tmp_path, other) is None
    for name in ("grid", "grid_iou_box", "grid_hit", "curves"):
        assert read_image(tmp_path / f"{name}.png").std() > 0
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines[0] == "figure,axis,over,place,mean,low,high"
    assert all(math.isfinite(float(line.split(",")[4])) for line in lines[1:])
