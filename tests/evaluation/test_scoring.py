"""The registry: each metric on made cases whose figures are known."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.classification import binary_jaccard_index

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.methods import MethodResult
from rba.evaluation.scoring import MOST_DB, ScoringSettings, make_metrics, score_result

SIDE = 64
SETTINGS = ScoringSettings(reference_side=SIDE, object_margin=0.0)
METRICS = make_metrics(SETTINGS)
REGIONS = ("iou_mask", "iou_box", "iou_equal_area", "hit", "pck_0.1")


def box_mask(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def case() -> Case:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mask = box_mask(20, 24, 36, 40)
    image = truth.copy()
    image[mask] = 128
    return Case(
        id="made",
        image=image,
        artifact_mask=mask,
        references=(truth, truth[::-1]),
        reference_masks=(None, None),
        truth=truth,
        correspondence_mask=mask.astype(np.float32),
    )


def test_names_units_and_definitions_are_whole() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert re.fullmatch(r"[a-z0-9_.]+", name)
        assert metric.definition.endswith(".")
        assert (metric.score is None) == (metric.skipped is not None)


def test_what_needs_weights_says_what_is_missing(case: Case) -> None:
    skipped = {name: metric.skipped for name, metric in METRICS.items() if metric.skipped}
    assert set(skipped) == {"dino", "clip_i", "lpips_alex_256_region1.5"}
    options = ("--dino DIR", "--clip DIR", "--lpips DIR")
    for option, reason in zip(options, skipped.values(), strict=True):
        assert option in reason
    assert not set(skipped) & set(score_result(METRICS, case, MethodResult(image=case.image)))


def test_the_truth_is_the_best_of_all(case: Case) -> None:
    assert case.truth is not None
    best = MethodResult(image=case.truth, region=case.artifact_mask)
    scores = score_result(METRICS, case, best)
    assert scores["psnr_hole_db"] == MOST_DB
    assert scores["ssim_hole"] == pytest.approx(1.0)
    assert scores["change_outside"] == 0.0
    assert scores["seam_to_truth"] == 1.0
    assert {name: scores[name] for name in REGIONS} == dict.fromkeys(REGIONS, 1.0)


def test_region_figures_against_torchmetrics_and_by_hand(case: Case) -> None:
    region = box_mask(24, 30, 40, 46)  # moved by 4 and 6 pixels
    scores = score_result(METRICS, case, MethodResult(image=case.image, region=region))
    expected = binary_jaccard_index(torch.tensor(region), torch.tensor(case.artifact_mask))
    assert scores["iou_mask"] == pytest.approx(float(expected))
    assert scores["iou_box"] == pytest.approx(120 / (512 - 120))
    assert scores["pck_0.1"] == 0.0  # 7.2 pixels apart, within 6.4 of them counts
    near = box_mask(24, 28, 40, 44)  # by 4 and 4: 5.7 pixels
    assert (
        score_result(METRICS, case, MethodResult(image=case.image, region=near))["pck_0.1"] == 1.0
    )


def test_pck_is_measured_by_the_object_where_it_is_known(case: Case) -> None:
    """The frame is the square around the object then: 32 pixels shown as 64."""
    small = dataclasses.replace(case, reference_masks=(box_mask(16, 16, 48, 48), None))
    for moved, expected in ((3, 1.0), (4, 0.0)):
        region = np.roll(case.artifact_mask, moved, axis=1)
        result = MethodResult(image=case.image, region=region)
        assert score_result(METRICS, small, result)["pck_0.1"] == expected


def test_a_raw_map_decides_hit_and_equal_area(case: Case) -> None:
    values = np.zeros((16, 16))
    values[5:9, 6:10] = 1.0  # the true cells
    values[0, 0] = 2.0
    result = MethodResult(image=case.image, region=case.artifact_mask, correspondence=values)
    scores = score_result(METRICS, case, result)
    assert scores["hit"] == 0.0
    assert scores["iou_equal_area"] == pytest.approx(15 / 17)
    assert scores["iou_mask"] == 1.0


def test_a_region_that_was_not_found_scores_nothing(case: Case) -> None:
    empty = MethodResult(image=case.image, region=np.zeros((SIDE, SIDE), bool))
    scores = score_result(METRICS, case, empty)
    assert {name: scores[name] for name in REGIONS} == dict.fromkeys(REGIONS, 0.0)


def test_a_region_off_the_shown_object_scores_nothing(case: Case) -> None:
    known = dataclasses.replace(case, reference_masks=(box_mask(16, 16, 48, 48), None))
    outside = MethodResult(image=case.image, region=box_mask(0, 0, 8, 8))
    scores = score_result(METRICS, known, outside)
    assert {name: scores[name] for name in REGIONS} == dict.fromkeys(REGIONS, 0.0)


def test_what_has_no_region_or_no_truth_is_not_scored(case: Case) -> None:
    none = MethodResult(image=case.image)
    other = MethodResult(image=case.image, region=case.artifact_mask, reference_index=1)
    for result in (none, other):
        assert [score_result(METRICS, case, result)[name] for name in REGIONS] == [None] * 5
    blind = dataclasses.replace(case, truth=None, correspondence_mask=None)
    scores = score_result(METRICS, blind, MethodResult(image=case.image, region=case.artifact_mask))
    known = {name for name, value in scores.items() if value is not None}
    assert known == {"change_outside", "seam"}


def test_fidelity_equals_scikit_image_over_the_hole(case: Case) -> None:
    assert case.truth is not None
    scores = score_result(METRICS, case, MethodResult(image=case.image))
    hole = (slice(20, 36), slice(24, 40))
    expected = peak_signal_noise_ratio(case.truth[hole], case.image[hole], data_range=255)
    assert scores["psnr_hole_db"] == pytest.approx(expected)


def test_changes_outside_are_seen_and_the_faded_border_is_allowed(case: Case) -> None:
    image = case.image.copy()
    image[19, 24] = image[19, 24] ^ 4
    scores = score_result(METRICS, case, MethodResult(image=image))
    assert scores["change_outside"] == 4.0
    faded = cv2.dilate(case.artifact_mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
    scores = score_result(METRICS, case, MethodResult(image=image, faded=faded))
    assert scores["change_outside"] == 0.0


def test_scores_do_not_depend_on_what_was_scored_before(case: Case) -> None:
    other = dataclasses.replace(case, correspondence_mask=box_mask(0, 0, 9, 9).astype(np.float32))
    first = MethodResult(image=case.image, region=case.artifact_mask)
    second = MethodResult(image=case.image, region=box_mask(0, 0, 9, 9))
    wanted = [(case, first), (other, first), (other, second), (case, second), (case, first)]
    kept = [score_result(METRICS, *pair) for pair in wanted]
    assert kept == [score_result(make_metrics(SETTINGS), *pair) for pair in wanted]
    assert kept[0] != kept[1]
    assert kept[0] == kept[-1]


def test_results_of_another_size_are_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="a result of uint8"):
        score_result(METRICS, case, MethodResult(image=case.image[:-1]))
    region = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="a region of"):
        score_result(METRICS, case, MethodResult(image=case.image, region=region))


def test_a_mask_without_surroundings_has_no_seam(case: Case) -> None:
    full = dataclasses.replace(case, artifact_mask=np.ones((SIDE, SIDE), bool))
    scores = score_result(METRICS, full, MethodResult(image=case.image))
    assert scores["seam"] is None
    assert scores["seam_to_truth"] is None


@pytest.mark.parametrize("option", ["dino", "clip", "lpips"])
def test_a_folder_that_is_not_there_is_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"--{option} nowhere"):
        make_metrics(ScoringSettings(**{option: "nowhere"}))
