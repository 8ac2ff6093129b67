"""Between the browser's layers and masks of the original's size."""

from typing import Any

import numpy as np
import pytest

from rba.app.painting import (
    DEFECT_COLOUR,
    SHOWN_SIDE,
    painted_layer,
    painted_mask,
    same_painting,
    scaled_mask,
    shown,
)


@pytest.mark.parametrize("size", [(60, 80), (61, 47)])
def test_a_mask_survives_the_way_to_the_browser_and_back(size: tuple[int, int]) -> None:
    mask = np.zeros(size, bool)
    mask[10:30, 5:40] = True
    layer = painted_layer(mask, size, DEFECT_COLOUR)
    assert np.array_equal(painted_mask({"layers": [layer]}, size), mask)


def test_strokes_of_all_layers_count_and_faint_edges_do_not() -> None:
    first, second = np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8)
    first[2:4, 2:4, 3], first[10, 10, 3], second[15, 5, 3] = 140, 40, 255
    mask = painted_mask({"layers": [first, second]}, (20, 20))
    assert mask.sum() == 5
    assert mask[15, 5]
    assert not mask[10, 10]


@pytest.mark.parametrize("value", [None, {}, {"layers": None}, {"layers": []}])
def test_nothing_painted_is_an_empty_mask_of_the_original_size(value: Any) -> None:
    mask = painted_mask(value, (30, 40))
    assert mask.shape == (30, 40)
    assert not mask.any()


def test_a_stroke_on_a_picture_shown_smaller_is_scaled_up_to_the_original() -> None:
    original = np.zeros((2000, 4 * SHOWN_SIDE, 3), np.uint8)
    small = shown(original)
    assert max(small.shape[:2]) == SHOWN_SIDE
    layer = np.zeros((*small.shape[:2], 4), np.uint8)
    layer[100:200, 300:400, 3] = 140
    mask = painted_mask({"layers": [layer]}, (2000, 4 * SHOWN_SIDE))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1) == pytest.approx((400, 800), abs=3)
    assert (columns.min(), columns.max() + 1) == pytest.approx((1200, 1600), abs=3)


def test_a_picture_that_fits_is_not_scaled() -> None:
    picture = np.zeros((30, SHOWN_SIDE, 3), np.uint8)
    assert shown(picture) is picture


def test_a_thin_mask_does_not_vanish_when_it_shrinks() -> None:
    mask = np.zeros((400, 400), bool)
    mask[200, 100] = True
    assert scaled_mask(mask, 40, 40).sum() == 1


def test_paintings_are_the_same_but_for_their_edges() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    edge = mask.copy()
    edge[20, 20:50] = False
    assert same_painting(mask, edge)
    edge[20:30] = False
    assert not same_painting(mask, edge)
    assert not same_painting(mask, mask[:50])
