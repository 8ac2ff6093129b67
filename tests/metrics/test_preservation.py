"""Changes outside a mask are found wherever they are."""

import numpy as np
import pytest

from rba.metrics.preservation import max_change_outside


def test_a_single_changed_pixel_is_found_unless_masked() -> None:
    before = np.full((10, 12, 3), 250, np.uint8)
    mask = np.zeros((10, 12), bool)
    mask[2:4, 2:4] = True
    after = before.copy()
    assert max_change_outside(before, after, mask) == 0
    after[2, 2] = 0
    assert max_change_outside(before, after, mask) == 0
    after[9, 11, 1] = 3
    assert max_change_outside(before, after, mask) == 247
    assert max_change_outside(after, before, mask) == 247


def test_a_full_mask_leaves_nothing_to_change() -> None:
    before = np.zeros((4, 4, 3), np.uint8)
    assert max_change_outside(before, before + 9, np.ones((4, 4), bool)) == 0


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes disagree"):
        max_change_outside(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)), np.zeros((4, 4), bool))
