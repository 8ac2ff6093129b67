import numpy as np
import pytest

from rba.matching.consistency import (
    FOLDED,
    THERE_AND_BACK,
    ConsistencySettings,
    check_grid,
    folded_share,
)
from rba.matching.exact import node_positions
from rba.matching.view_area import ViewArea

AREA = ViewArea((512, 512), None)


def grid(u, v):
    x, y = np.meshgrid(node_positions(512), node_positions(512))
    values = np.stack([u(x, y) / 512, v(x, y) / 512, np.ones_like(x)], axis=2)
    outside = (values[..., :2] < 0).any(axis=2) | (values[..., :2] >= 1).any(axis=2)
    values[outside] = np.nan
    return values.astype(np.float16)


FORTH = grid(lambda x, y: x + 40, lambda x, y: y - 20)
BACK = grid(lambda x, y: x - 40, lambda x, y: y + 20)


def check(forward, backward, **settings):
    return check_grid(forward, backward, AREA, AREA, (512, 512), ConsistencySettings(**settings))


def test_a_way_back_that_agrees_changes_nothing():
    kept, fault = check(FORTH, BACK)
    assert fault is None
    np.testing.assert_array_equal(kept, FORTH)


def test_matches_that_the_way_back_contradicts_are_taken_away():
    wrong = FORTH.copy()
    wrong[20:24, 20:24, 0] += 0.25
    kept, fault = check(wrong, BACK)
    assert fault is None
    assert np.isnan(kept[20:24, 20:24]).all()
    others = np.ones((64, 64), bool)
    others[20:24, 20:24] = False
    np.testing.assert_array_equal(kept[others], FORTH[others])


def test_a_pair_that_mostly_disagrees_is_left_out():
    elsewhere = grid(lambda x, y: x - 40, lambda x, y: y + 60)
    assert check(FORTH, elsewhere)[1] == THERE_AND_BACK
    assert check(FORTH, elsewhere, most_disagreeing=1.0)[1] is None
    assert check(FORTH, elsewhere, tolerance=100.0)[1] is None


def test_where_the_reference_has_no_matches_nothing_is_contradicted():
    kept, fault = check(FORTH, np.full_like(BACK, np.nan))
    assert fault is None
    np.testing.assert_array_equal(kept, FORTH)
    nothing, fault = check(np.full_like(FORTH, np.nan), BACK)
    assert fault is None
    assert np.isnan(nothing).all()


def test_mirrored_matches_fold_over():
    mirrored = grid(lambda x, y: 511 - x, lambda x, y: y)
    assert folded_share(mirrored, AREA) == 1.0
    assert folded_share(FORTH, AREA) == 0.0
    assert check(mirrored, mirrored)[1] == FOLDED
    assert check(mirrored, mirrored, most_folded=1.0)[1] is None


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_grids_without_a_cell_do_not_fold(value):
    assert folded_share(np.full((1, 1, 3), value, np.float16), AREA) == 0.0


def test_small_patches_have_no_match():
    scattered = np.full_like(FORTH, np.nan)
    scattered[10:14, 10:14] = FORTH[10:14, 10:14]  # 16 nodes
    scattered[30:33, 30:33] = FORTH[30:33, 30:33]  # 9
    kept, fault = check(scattered, BACK)
    assert fault is None
    assert np.isfinite(kept[..., 0]).sum() == 16
    assert np.isfinite(check(scattered, BACK, least_patch=0)[0][..., 0]).sum() == 25
