"""Overlap figures against counting pixels one by one, torchmetrics and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as numpy_strategies
from scipy import ndimage
from torchmetrics.functional.classification import binary_jaccard_index

from rba.metrics.region import (
    box_iou,
    centre_within,
    hit,
    iou,
    iou_at_area,
    mask_at_area,
    truth_mask,
)

MASKS = numpy_strategies.arrays(bool, (9, 12))


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_iou_equals_torchmetrics(first: np.ndarray, second: np.ndarray) -> None:
    if not (first | second).any():
        assert np.isnan(iou(first, second))
        return
    expected = binary_jaccard_index(torch.from_numpy(first).int(), torch.from_numpy(second).int())
    assert iou(first, second) == pytest.approx(float(expected))


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_box_iou_equals_the_iou_of_filled_boxes(first: np.ndarray, second: np.ndarray) -> None:
    def filled(mask: np.ndarray) -> np.ndarray:
        box = np.zeros_like(mask)
        if mask.any():
            rows, columns = np.nonzero(mask)
            box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        return box

    expected = iou(filled(first), filled(second))
    assert box_iou(first, second) == pytest.approx(expected, nan_ok=True)


def test_truth_is_cut_at_one_half() -> None:
    soft = np.array([[0.0, 0.499], [0.5, 1.0]], np.float32)
    assert np.array_equal(truth_mask(soft), [[False, False], [True, True]])


def test_hit_looks_at_the_centre_of_the_largest_cell() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 1.0
    truth = np.zeros((32, 32), bool)
    truth[12, 20] = True
    assert hit(values, truth) == 1.0
    truth[12, 20] = False
    truth[8:16, 16:20] = True
    assert hit(values, truth) == 0.0


def test_hit_of_a_flat_map_is_chance() -> None:
    truth = np.zeros((32, 32), bool)
    truth[:8] = True
    assert hit(np.ones((4, 4)), truth) == 0.25
    half = np.zeros((4, 4))
    half[:2] = 1.0
    assert hit(half, truth) == 0.5


def test_iou_at_area_keeps_the_right_number_of_cells() -> None:
    values = np.arange(16, dtype=np.float64).reshape(4, 4)
    mask = mask_at_area(values, 3 * 64, 32)
    assert mask.sum() == 3 * 64
    assert mask[24:, 8:].all()
    truth = np.zeros((32, 32), bool)
    truth[24:, 8:] = True
    assert iou_at_area(values, truth) == 1.0
    assert mask_at_area(values, 1, 32).sum() == 64
    assert mask_at_area(values, 32 * 32, 32).all()


def test_area_is_blind_to_monotone_changes_of_the_map() -> None:
    values = np.random.default_rng(0).random((16, 16))
    truth = np.zeros((64, 64), bool)
    truth[10:30, 20:50] = True
    assert iou_at_area(values, truth) == iou_at_area(np.exp(5 * values), truth)


@pytest.mark.parametrize("seed", range(4))
def test_the_centre_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 40, 40)) < 0.1
    apart = math.dist(ndimage.center_of_mass(first), ndimage.center_of_mass(second))
    assert centre_within(first, second, apart + 1e-9) == 1.0
    assert centre_within(first, second, apart - 1e-9) == 0.0


def test_an_empty_region_is_never_near() -> None:
    assert centre_within(np.zeros((8, 8), bool), np.ones((8, 8), bool), 100.0) == 0.0


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="bool masks of one shape"):
        iou(np.ones((2, 2)), np.ones((2, 2), bool))
