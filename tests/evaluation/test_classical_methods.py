"""Both classical baselines on cases with a known map, and on what they cannot serve."""

import dataclasses
import json
from collections.abc import Mapping

import cv2
import numpy as np
import pytest
from skimage import data

from rba.case import Case
from rba.evaluation.baselines.patch_correlation import PatchCorrelation, SearchSettings
from rba.evaluation.baselines.sift_poisson import HomographySettings, SiftPoisson
from rba.evaluation.baselines.transfer import plausible, region_of, warp_reference
from rba.evaluation.methods import FALLBACK, Method, MethodResult
from rba.evaluation.scoring import ScoringSettings, make_metrics, score_result
from rba.geometry import project

# Quick ones: these pairs need neither tilted views nor many angles.
METHODS: Mapping[str, Method] = {
    "sift": SiftPoisson(HomographySettings(tilted=False, smallest_side=240)),
    "patch": PatchCorrelation(SearchSettings(angles=(-15.0, 0.0), kept=2)),
}
DEFAULTS: Mapping[str, Method] = {"sift": SiftPoisson(), "patch": PatchCorrelation()}
METRICS = make_metrics(ScoringSettings(reference_side=224))
SHIFT = np.array([[1.0, 0.0, 24.0], [0.0, 1.0, 10.0], [0.0, 0.0, 1.0]])
TURN = np.array([[0.9, -0.24, 50.0], [0.24, 0.9, 0.0], [0.0, 0.0, 1.0]])
TILT = np.array([[0.8, -0.25, 60.0], [0.2, 0.9, -10.0], [1e-4, 2e-4, 1.0]])


def moved(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp by a map of pixels with centres at +0.5."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return cv2.warpPerspective(picture, np.linalg.inv(half) @ matrix @ half, size)


def make_case(
    matrix: np.ndarray = SHIFT,
    *,
    size: tuple[int, int] = (300, 260),
    box: tuple[int, int, int, int] = (60, 100, 90, 145),
) -> Case:
    """A photo whose reference shows it under a known map, ``size`` = width and height."""
    truth = cv2.resize(data.astronaut(), (240, 240), interpolation=cv2.INTER_AREA)
    mask = np.zeros((240, 240), bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    image = np.where(mask[..., None], np.uint8(0), truth)
    return Case(
        id="photo",
        image=image,
        artifact_mask=mask,
        references=(moved(truth, matrix, size),),
        reference_masks=(None,),
        truth=truth,
        correspondence_mask=moved(mask.astype(np.float32), matrix, size),
    )


def refine(name: str, case: Case, methods: Mapping[str, Method] = METHODS) -> MethodResult:
    (result,) = methods[name].run([case], [0])
    return result


@pytest.mark.parametrize(
    ("name", "matrix", "decibels", "overlap"),
    [
        ("sift", SHIFT, 35.0, 0.97),
        ("sift", TURN, 28.0, 0.95),
        ("sift", TILT, 26.0, 0.93),
        ("patch", SHIFT, 25.0, 0.93),
        ("patch", TURN, 20.0, 0.85),
    ],
)
def test_a_known_map_is_found(
    name: str, matrix: np.ndarray, decibels: float, overlap: float
) -> None:
    case = make_case(matrix)
    result = refine(name, case, DEFAULTS)
    scores = score_result(METRICS, case, result)
    assert FALLBACK not in result.notes
    assert (scores["psnr_hole_db"] or 0) > decibels
    assert (scores["iou_mask"] or 0) > overlap
    assert scores["change_outside"] == 0.0
    left = score_result(METRICS, case, MethodResult(image=case.image))
    assert (left["psnr_hole_db"] or 99) < 12


def test_other_light_is_matched() -> None:
    case = make_case()
    darker = tuple((0.6 * picture + 20).astype(np.uint8) for picture in case.references)
    case = dataclasses.replace(case, references=darker)
    for name, decibels in (("sift", 30.0), ("patch", 25.0)):
        scores = score_result(METRICS, case, refine(name, case))
        assert (scores["psnr_hole_db"] or 0) > decibels


@pytest.mark.parametrize("name", METHODS)
def test_sizes_borders_and_single_pixels(name: str) -> None:
    shapes = {
        "corner": make_case(box=(0, 0, 25, 30)),
        "edge": make_case(box=(100, 215, 130, 240)),
        "one pixel": make_case(box=(80, 120, 81, 121)),
        "a line": make_case(box=(80, 100, 82, 180)),
        "large reference": make_case(np.diag([3.0, 3.0, 1.0]), size=(720, 720)),
        "small reference": make_case(np.diag([0.5, 0.5, 1.0]), size=(120, 120)),
    }
    for case in shapes.values():
        result = refine(name, case)
        assert result.region is not None
        assert result.region.shape == case.references[0].shape[:2]
        np.testing.assert_array_equal(
            result.image[~case.artifact_mask], case.image[~case.artifact_mask]
        )
        assert FALLBACK not in result.notes
        error = np.abs(result.image.astype(int) - case.truth)[case.artifact_mask].mean()
        assert error < 16
        json.dumps(dict(result.notes))


@pytest.mark.parametrize("name", METHODS)
def test_what_cannot_be_served_is_left_and_says_why(name: str) -> None:
    case = dataclasses.replace(make_case(), correspondence_mask=None)
    flat = dataclasses.replace(case, references=(np.full((90, 80, 3), 120, np.uint8),))
    everything = dataclasses.replace(case, artifact_mask=np.ones((240, 240), bool))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    other = dataclasses.replace(case, references=(noise,))
    pictures = (np.full((1, 1, 3), 9, np.uint8), np.full((2, 40, 3), 9, np.uint8))
    tiny = [dataclasses.replace(flat, references=(picture,)) for picture in pictures]
    for impossible in (flat, everything, other, *tiny):
        result = refine(name, impossible)
        np.testing.assert_array_equal(result.image, impossible.image)
        assert result.notes[FALLBACK]
        assert result.region is not None
        assert not result.region.any()


@pytest.mark.parametrize("name", METHODS)
def test_the_reference_that_shows_the_place_is_chosen(name: str) -> None:
    case = make_case()
    noise = np.random.default_rng(0).integers(0, 256, (100, 140, 3)).astype(np.uint8)
    both = dataclasses.replace(
        case,
        references=(noise, *case.references),
        reference_masks=(None, None),
        correspondence_mask=None,
    )
    result = refine(name, both)
    assert result.reference_index == 1
    np.testing.assert_array_equal(result.image, refine(name, case).image)


@pytest.mark.parametrize("name", METHODS)
def test_a_second_run_and_another_batch_give_the_same(name: str) -> None:
    cases = [make_case(), make_case(TURN)]
    together = list(METHODS[name].run(cases, [0, 1]))
    for case, result, number in zip(cases, together, (7, 3), strict=True):
        (again,) = METHODS[name].run([case], [number])
        np.testing.assert_array_equal(again.image, result.image)
        assert again.notes == result.notes
    json.dumps(dict(METHODS[name].settings()))


def test_only_the_object_is_pasted_where_it_is_known() -> None:
    case = make_case()
    known = np.zeros((260, 300), bool)
    known[:, : 24 + 122] = True  # the left half of the hole
    half = dataclasses.replace(case, reference_masks=(known,))
    warped = warp_reference(half, 0, SHIFT)
    assert warped is not None
    columns = np.arange(warped.box.x0, warped.box.x1)
    np.testing.assert_array_equal(warped.covered.any(axis=0), columns < 122)


def test_the_region_is_the_mapped_mask() -> None:
    case = make_case(TILT)
    region = region_of(case, 0, TILT)
    ys, xs = np.nonzero(region)
    back = project(np.stack([xs, ys], 1) + 0.5, np.linalg.inv(TILT)).astype(int)
    assert case.artifact_mask[back[:, 1], back[:, 0]].mean() > 0.99
    assert region.sum() == pytest.approx((case.correspondence_mask > 0.5).sum(), rel=0.02)
    pixel = make_case(np.diag([0.1, 0.1, 1.0]), size=(24, 24), box=(81, 121, 82, 122))
    assert np.argwhere(region_of(pixel, 0, np.diag([0.1, 0.1, 1.0]))).tolist() == [[8, 12]]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(3), True),
        (TILT, True),
        (np.diag([-1.0, 1.0, 1.0]), False),  # a mirror
        (np.diag([20.0, 20.0, 1.0]), False),
        (np.array([[1.0, 0, 0], [0, 1.0, 0], [-1 / 120, 0, 1.0]]), False),  # a fold in the hole
        (np.full((3, 3), np.nan), False),
    ],
)
def test_implausible_maps_are_refused(matrix: np.ndarray, expected: bool) -> None:
    assert plausible(matrix, make_case().artifact_mask) is expected
