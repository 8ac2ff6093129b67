"""One mask, several defects: what goes together, in what order, and never too many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from rba.inference.defects import separate_defects


def mask_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 100)) -> np.ndarray:
    """Boxes are (top, left, bottom, right)."""
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


NEAR = mask_of((10, 10, 20, 20), (10, 26, 20, 30), (70, 70, 75, 75))  # gaps of 6 and more


@pytest.mark.parametrize(
    ("distance", "areas"),
    [(0.0, [100, 40, 25]), (0.03, [100, 40, 25]), (0.08, [140, 25]), (1.0, [165]), (None, [165])],
)
def test_distance_says_what_goes_together(distance: float | None, areas: list[int]) -> None:
    defects = separate_defects(NEAR, distance)
    assert [int(defect.sum()) for defect in defects] == areas
    assert np.array_equal(np.any(defects, axis=0), NEAR)


def test_distance_is_a_share_of_the_longer_side() -> None:
    wide = np.zeros((100, 400), bool)
    wide[:, :100] = NEAR
    assert len(separate_defects(wide, 0.03)) == 2  # 12 pixels


def test_a_chain_of_parts_is_one_defect() -> None:
    chain = mask_of(*[(50, left, 54, left + 4) for left in range(0, 90, 10)])
    assert len(separate_defects(chain, 0.08)) == 1
    assert len(separate_defects(chain, 0.02, at_most=9)) == 9


def test_equal_defects_come_in_reading_order() -> None:
    boxes = [(5, 60, 9, 64), (40, 2, 44, 6), (40, 80, 44, 84), (90, 0, 94, 4)]
    firsts = [int(defect.argmax()) for defect in separate_defects(mask_of(*boxes[::-1]), 0.01)]
    assert firsts == [100 * top + left for top, left, _, _ in boxes]


@pytest.mark.parametrize("distance", [0.0, 0.001, 0.05])
def test_a_spray_of_specks_stays_cheap(distance: float) -> None:
    specks = np.random.default_rng(0).random((300, 200)) > 0.997
    defects = separate_defects(specks, distance, at_most=5)
    assert 1 <= len(defects) <= 5
    assert np.array_equal(np.any(defects, axis=0), specks)


@settings(max_examples=40, deadline=None)
@given(
    numpy_strategies.arrays(bool, (12, 9)),
    st.one_of(st.none(), st.floats(0, 1)),
    st.integers(1, 4),
)
def test_every_pixel_is_in_one_defect(mask: np.ndarray, distance: float | None, most: int) -> None:
    mask[3, 4] = True
    defects = separate_defects(mask, distance, at_most=most)
    assert 1 <= len(defects) <= most
    assert all(defect.any() for defect in defects)
    assert np.array_equal(np.sum(defects, axis=0), mask.astype(int))
