"""What is asked under each condition, and that nothing else differs."""

import dataclasses
from typing import Any

import numpy as np

from rba.case import Case
from rba.evaluation.conditions import condition_requests, object_name, refine_conditions
from rba.inference.refine import align_requests
from rba.inference.request import RefinementRequest, RefinementSettings


def ask(cases: list[Case]) -> dict[str, list[RefinementRequest | None]]:
    return condition_requests(
        [RefinementRequest(case=case, draw=10 + index) for index, case in enumerate(cases)]
    )


def test_each_condition_asks_for_its_own_reference(cases: list[Case]) -> None:
    conditions = ask(cases)
    for name, requests in conditions.items():
        for index, (case, request) in enumerate(zip(cases, requests, strict=True)):
            assert request is not None, name
            assert request.draw == 10 + index
            assert request.case.image is case.image
            assert request.case.artifact_mask is case.artifact_mask
            own = request.reference is case.references[0]
            assert own == (name != "wrong_reference")
            assert request.no_reference == (name == "no_reference")
            assert (request.region is None) == (name not in ("true_region", "whole_reference"))
    for case, request in zip(cases, conditions["true_region"], strict=True):
        assert request is not None
        assert case.correspondence_mask is not None
        assert np.array_equal(request.region, case.correspondence_mask >= 0.5)
    whole = conditions["whole_reference"][0]
    assert whole is not None
    assert np.array_equal(whole.region, cases[0].reference_masks[0])


def test_the_wrong_reference_shows_another_object(cases: list[Case]) -> None:
    pictures = {object_name(case): case.references[0] for case in cases[:3]}
    for case, request in zip(cases, ask(cases)["wrong_reference"], strict=True):
        assert request is not None
        assert not np.array_equal(request.reference, pictures[object_name(case)])
        assert request.case.correspondence_mask is None


def test_a_case_without_known_region_has_no_true_region(
    cases: list[Case], parts: tuple[Any, Any], settings: RefinementSettings
) -> None:
    blank = dataclasses.replace(cases[0], correspondence_mask=None)
    faint = dataclasses.replace(
        cases[1], correspondence_mask=np.full(cases[1].image.shape[:2], 0.4, np.float32)
    )
    conditions = ask([blank, faint, cases[2]])
    assert [request is None for request in conditions["true_region"]] == [True, True, False]
    only = {"true_region": conditions["true_region"]}
    found = [(name, index) for name, index, _ in refine_conditions(*parts, only, [], settings)]
    assert found == [("true_region", 2)]


def test_all_conditions_use_the_same_crop_and_only_the_found_region_is_aligned(
    cases: list[Case], parts: tuple[Any, Any], settings: RefinementSettings
) -> None:
    conditions = ask(cases[:2])
    right = [request for request in conditions["right_reference"] if request is not None]
    alignments = align_requests(*parts, right, settings)
    seen: dict[str, list[Any]] = {}
    for name, index, result in refine_conditions(*parts, conditions, alignments, settings):
        assert len(seen.setdefault(name, [])) == index
        seen[name].append(result)
        assert result.crop_box == alignments[index].crop.box
        assert np.array_equal(result.alignment.crop.pixels, alignments[index].crop.pixels)
        aligned = result.alignment.correspondence_map is not None
        assert aligned == (name in ("right_reference", "wrong_reference"))
    assert list(seen) == list(conditions)
    assert seen["right_reference"][1].alignment is alignments[1]
