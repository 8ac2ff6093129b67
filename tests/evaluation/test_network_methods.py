"""Our rows: each differs from the method in the one thing that it is about."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rba.case import Case
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.methods import FALLBACK, MethodResult
from rba.evaluation.models import LazyModel
from rba.evaluation.network_methods import NetworkMethod, NetworkNumbers
from rba.evaluation.network_rows import OURS, ROWS
from rba.inference.refine import refine_many
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.metrics.preservation import max_change_outside
from rba.metrics.region import truth_mask

NUMBERS = NetworkNumbers(
    settings=RefinementSettings(sampler=SamplerSettings(num_inference_steps=1)), cell=(1, 4)
)
BY_NAME = {row.name: row for row in ROWS}


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LazyModel:
    return LazyModel(model_folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def cases(bench: Path) -> CaseSet:
    return open_case_set(bench)


@pytest.fixture(scope="module")
def read(cases: CaseSet) -> list[Case]:
    """The first with a known region, and the one without."""
    return [cases.read(cases.cases[number]) for number in (0, 4)]


@pytest.fixture(scope="module")
def results(model: LazyModel, cases: CaseSet, read: list[Case]) -> dict[str, list[MethodResult]]:
    """What every row makes of the two."""
    return {
        row.name: list(NetworkMethod(row, model, NUMBERS, cases).run(read, [0, 4])) for row in ROWS
    }


def test_every_row_refines_and_keeps_what_lies_outside(
    results: dict[str, list[MethodResult]], read: list[Case]
) -> None:
    for name, row in results.items():
        for case, result in zip(read, row, strict=True):
            if FALLBACK in result.notes and name == "oracle_region":
                continue
            assert (result.image != case.image)[case.artifact_mask].any(), name
            assert result.faded is not None
            assert not result.faded[case.artifact_mask].any()
            allowed = case.artifact_mask | result.faded
            assert max_change_outside(case.image, result.image, allowed) == 0
            if result.region is not None:
                assert result.region.shape == case.references[0].shape[:2]


def test_ours_is_the_pipeline(
    results: dict[str, list[MethodResult]], read: list[Case], model: LazyModel
) -> None:
    pipeline = model.open()
    settings = dataclasses.replace(NUMBERS.resolved(model), batch_size=2)
    assert (settings.alignment.sampler_step_index, settings.alignment.layer) == (1, 4)
    requests = [RefinementRequest(case=c, draw=n) for c, n in zip(read, (0, 4), strict=True)]
    with torch.no_grad():
        expected = refine_many(pipeline.network, pipeline.scheduler, requests, settings)
    for result, wanted in zip(results[OURS], expected, strict=True):
        assert np.array_equal(result.image, wanted.image)
        assert np.array_equal(result.region, wanted.correspondence_mask)  # type: ignore[arg-type]
        assert np.array_equal(result.correspondence, wanted.alignment.correspondence_map)  # type: ignore[arg-type]


def test_the_rows_take_their_content_from_where_they_say(
    results: dict[str, list[MethodResult]], read: list[Case]
) -> None:
    truth = read[0].correspondence_mask
    assert truth is not None
    assert np.array_equal(results["oracle_region"][0].region, truth_mask(truth))  # type: ignore[arg-type]
    assert results["whole_reference"][0].region is not None
    assert results["whole_reference"][0].region.all()  # the object fills the reference
    for name in ("wrong_reference", "no_reference"):
        assert results[name][0].region is None
        assert results[name][0].correspondence is None
    assert results["wrong_reference"][0].notes["reference_of"] == "00001-object-001"
    raw = results["ours_no_postprocessing"][0]
    assert np.array_equal(raw.correspondence, results[OURS][0].correspondence)  # type: ignore[arg-type]
    for name in ("ours_four_noises", "ours_mean_cells", "ours_no_zoom"):
        assert not np.array_equal(results[name][0].correspondence, raw.correspondence)  # type: ignore[arg-type]
    same = results["ours_no_reencoding"][0]
    assert np.array_equal(same.region, results[OURS][0].region)  # type: ignore[arg-type]
    assert not np.array_equal(same.image, results[OURS][0].image)


def test_an_unknown_region_leaves_the_picture_and_says_so(
    results: dict[str, list[MethodResult]], read: list[Case]
) -> None:
    left = results["oracle_region"][1]
    assert left.notes[FALLBACK] == "the true region is not known"
    assert np.array_equal(left.image, read[1].image)
    assert left.region is None


def test_noise_is_keyed_by_the_number_alone(
    model: LazyModel, cases: CaseSet, read: list[Case], results: dict[str, list[MethodResult]]
) -> None:
    method = NetworkMethod(BY_NAME["no_reference"], model, NUMBERS, cases)
    (alone,) = method.run(read[1:], [4])
    together = results["no_reference"][1]
    assert np.abs(alone.image.astype(int) - together.image.astype(int)).max() <= 1
    (other,) = method.run(read[1:], [5])
    assert not np.array_equal(other.image, alone.image)


def test_of_several_references_every_row_takes_the_same(
    model: LazyModel, cases: CaseSet, read: list[Case]
) -> None:
    other = cases.read(cases.cases[1])
    several = dataclasses.replace(
        read[0],
        references=(*other.references, *read[0].references),
        reference_masks=(*other.reference_masks, *read[0].reference_masks),
        correspondence_mask=None,
    )
    chosen: set[Any] = set()
    for name in (OURS, "whole_reference", "ours_no_zoom"):
        (result,) = NetworkMethod(BY_NAME[name], model, NUMBERS, cases).run([several], [0])
        if name != "ours_no_zoom":  # sees other surroundings
            chosen.add(result.reference_index)
        assert result.region is not None
        assert result.region.shape == several.references[result.reference_index].shape[:2]
    assert len(chosen) == 1


def test_settings_name_the_model_and_every_number_but_the_batch_size(
    model: LazyModel, cases: CaseSet
) -> None:
    ours = NetworkMethod(BY_NAME[OURS], model, NUMBERS, cases).settings()
    assert ours["model"] == model.digest
    assert "batch_size" not in ours
    bigger = dataclasses.replace(
        NUMBERS, settings=dataclasses.replace(NUMBERS.settings, batch_size=9)
    )
    assert NetworkMethod(BY_NAME[OURS], model, bigger, cases).settings() == ours
    for row in ROWS:
        own = NetworkMethod(row, model, NUMBERS, cases).settings()
        assert (own == ours) == (row.name == OURS), row.name
