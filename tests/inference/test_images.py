"""Whole images: several defects, several references, and what stays as it was."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from rba.case import Case
from rba.errors import InputError
from rba.inference.align import AlignmentSettings
from rba.inference.images import refine_images
from rba.inference.references import choose_reference, surroundings_scores
from rba.inference.refine import align_requests, refine_many
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.metrics.preservation import max_change_outside
from rba.models.network import RefinementNetwork

SETTINGS = RefinementSettings(
    sampler=SamplerSettings(num_inference_steps=2),
    alignment=AlignmentSettings(num_inference_steps=2),
    batch_size=3,
)


@pytest.fixture
def apart(make_case: Any) -> Case:
    """Two defects of a 90 x 120 image, 50 pixels from each other; two references."""
    case: Case = make_case(box=(30, 10, 50, 32))
    case.artifact_mask[60:70, 90:100] = True
    first = case.references[0]
    second = np.ascontiguousarray(first[::-1, ::-1])
    return dataclasses.replace(case, references=(first, second), reference_masks=(None, None))


def test_one_defect_and_one_reference_equal_the_plain_two_stages(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    requests = [RefinementRequest(case=make_case(), draw=index) for index in range(2)]
    plain = refine_many(network, scheduler, requests, SETTINGS)
    images = refine_images(network, scheduler, requests, SETTINGS)
    for first, second in zip(plain, images, strict=True):
        assert np.array_equal(first.image, second.image)
        (defect,) = second.defects
        assert defect.choice.index == 0
        assert defect.choice.scores == ()
        assert np.array_equal(second.feather_mask(), first.feather_mask())


def test_defects_far_apart_are_mended_in_turn_and_nothing_else_changes(
    network: RefinementNetwork, scheduler: Any, apart: Case
) -> None:
    before = apart.image.copy()
    (result,) = refine_images(network, scheduler, [RefinementRequest(case=apart)], SETTINGS)
    assert [int(defect.mask.sum()) for defect in result.defects] == [440, 100]
    first, second = result.defects
    weights = result.feather_mask()
    assert (weights[apart.artifact_mask] == 1.0).all()
    assert max_change_outside(before, result.image, weights > 0) == 0
    assert (result.image != before)[first.mask].any()
    assert (result.image != before)[second.mask].any()
    assert max_change_outside(before, first.result.image, first.result.feather_mask() > 0) == 0
    assert np.array_equal(second.result.image, result.image)
    assert first.result.crop_box != second.result.crop_box
    assert np.array_equal(apart.image, before)
    total = sum(result.seconds.values())
    assert total >= sum(defect.result.seconds["refine"] for defect in result.defects)


def test_a_defect_that_waits_is_blanked_for_the_one_before_it(
    network: RefinementNetwork, scheduler: Any, apart: Case
) -> None:
    wide = dataclasses.replace(SETTINGS, crop_factor=6.0, choose_reference=False)
    other = apart.image.copy()
    other[60:70, 90:100] = 255 - other[60:70, 90:100]
    results = [
        refine_images(network, scheduler, [RefinementRequest(case=case, no_reference=True)], wide)
        for case in (apart, dataclasses.replace(apart, image=other))
    ]
    first, second = (result[0].defects[0] for result in results)
    assert first.result.alignment.crop.mask.sum() > first.result.crop_box.width  # both in sight
    inside = first.mask
    assert np.array_equal(first.result.image[inside], second.result.image[inside])


@pytest.mark.parametrize(
    "changes", [{"defect_distance": None}, {"defect_distance": 0.6}, {"max_defects": 1}]
)
def test_defects_go_together_by_setting(
    network: RefinementNetwork, scheduler: Any, apart: Case, changes: dict[str, Any]
) -> None:
    settings = dataclasses.replace(SETTINGS, choose_reference=False, **changes)
    request = RefinementRequest(case=apart, reference_index=1)
    (result,) = refine_images(network, scheduler, [request], settings)
    (plain,) = refine_many(network, scheduler, [request], settings)
    assert len(result.defects) == 1
    assert np.array_equal(result.image, plain.image)


def test_each_defect_gets_the_reference_with_the_best_score(
    network: RefinementNetwork, scheduler: Any, apart: Case
) -> None:
    (result,) = refine_images(network, scheduler, [RefinementRequest(case=apart)], SETTINGS)
    for defect in result.defects:
        assert len(defect.choice.scores) == 2
        assert defect.choice.index == int(np.argmax(defect.choice.scores))
        chosen = defect.result.alignment
        assert np.array_equal(
            chosen.correspondence_map,
            defect.choice.alignments[defect.choice.index].correspondence_map,
        )
        assert f"{max(defect.choice.scores):.3f}" in defect.choice.reason


def test_a_named_region_or_no_reference_is_kept(
    network: RefinementNetwork, scheduler: Any, apart: Case
) -> None:
    region = np.zeros(apart.references[1].shape[:2], bool)
    region[5:20, 5:20] = True
    requests = [
        RefinementRequest(case=apart, reference_index=1, region=region),
        RefinementRequest(case=apart, reference_index=1, no_reference=True),
    ]
    known, free = refine_images(network, scheduler, requests, SETTINGS)
    assert len(known.defects) == 1
    assert known.defects[0].choice.index == 1
    assert np.array_equal(known.defects[0].result.correspondence_mask, region)
    assert len(free.defects) == 2
    assert all(defect.result.correspondence_mask is None for defect in free.defects)


def test_a_batch_equals_its_singles_and_generators_repeat(
    network: RefinementNetwork, scheduler: Any, apart: Case, make_case: Any
) -> None:
    short = dataclasses.replace(SETTINGS, sampler=SamplerSettings(num_inference_steps=1))
    requests = [
        RefinementRequest(case=make_case(), draw=3),
        RefinementRequest(case=apart, draw=4),
        RefinementRequest(case=make_case(33, 47, box=(3, 4, 5, 9)), draw=5),
    ]
    together = refine_images(network, scheduler, requests, short)
    for request, result in zip(requests, together, strict=True):
        (single,) = refine_images(network, scheduler, [request], short)
        assert len(single.defects) == len(result.defects)
        assert np.abs(result.image.astype(int) - single.image.astype(int)).max() <= 1
    images = [
        refine_images(
            network,
            scheduler,
            requests[1:2],
            short,
            generator=torch.Generator().manual_seed(seed),
        )[0].image
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_the_reference_that_shows_the_surroundings_wins(
    network: RefinementNetwork, scheduler: Any
) -> None:
    rng = np.random.default_rng(0)
    image, other = (rng.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((64, 64), bool)
    mask[20:30, 30:44] = True
    for references in ((image, other), (other, image)):
        case = Case(
            id="case",
            image=image,
            artifact_mask=mask,
            references=references,
            reference_masks=(None, np.ones((64, 64), bool)),
        )
        requests = [RefinementRequest(case=case, reference_index=index) for index in range(2)]
        settings = dataclasses.replace(SETTINGS, zoom_in=False, object_margin=0.0)
        choice = choose_reference(network, align_requests(network, scheduler, requests, settings))
        assert references[choice.index] is image
        assert choice.scores[choice.index] == pytest.approx(1.0, abs=0.05)
        assert choice.alignment is choice.alignments[choice.index]


def test_without_surroundings_the_map_decides(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    request = RefinementRequest(case=make_case(64, 64, box=(0, 0, 64, 64)))
    (found,) = align_requests(network, scheduler, [request], SETTINGS)
    lost = dataclasses.replace(found, fallback=True, confidence=0.9)
    sure = dataclasses.replace(found, fallback=False, confidence=0.1)
    assert surroundings_scores(network, [lost, sure]) == [0.0, 0.1]
    assert choose_reference(network, [lost, sure]).index == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defect_distance": -0.1}, "defect_distance -0.1"),
        ({"defect_distance": float("nan")}, "defect_distance nan"),
        ({"max_defects": 0}, "max_defects 0"),
    ],
)
def test_unfit_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RefinementSettings(**changes)
