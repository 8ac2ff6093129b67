import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.matching.local_maps import verified

LIMITS = {"neighbours": 10, "reach": 60.0, "tolerance": 2.0, "least": 4}


def points(seed, count):
    return np.random.default_rng(seed).uniform(0, 300, (count, 2))


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(0.5, 2.5), st.floats(0.5, 2.5))
def test_maps_of_an_affine_movement_are_found_exactly(seed, angle, width, height):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([width, height])
    first = points(seed, 120)
    maps = verified(first, first @ linear.T + (20, -7), **LIMITS)
    assert len(maps) > 100
    np.testing.assert_allclose(maps.linear, np.broadcast_to(linear, maps.linear.shape), atol=0.02)
    asked = points(seed + 1, 5)
    index = np.zeros((5, 1), int)
    np.testing.assert_allclose(
        maps.predict(asked, index)[:, 0], asked @ linear.T + (20, -7), atol=0.02 * 400
    )


def test_wrong_matches_find_no_support():
    first = points(0, 300)
    second = first * (0.8, 1.2) + 5
    wrong = np.arange(0, 300, 3)
    second[wrong] = points(1, len(wrong))
    maps = verified(first, second, **LIMITS)
    kept = {tuple(p) for p in maps.first}
    right = [tuple(first[n]) for n in range(300) if n % 3]
    assert sum(p in kept for p in right) > 0.9 * len(right)
    assert sum(tuple(first[n]) in kept for n in wrong) <= 5


def test_each_of_two_faces_keeps_its_own_map():
    first = points(2, 300)
    left = first[:, 0] < 150
    second = np.where(left[:, None], first * (0.5, 1.0), first * (1.5, 1.0) + (-150, 0))
    maps = verified(first, second, **LIMITS)
    assert len(maps) > 250
    stretch = maps.linear[:, 0, 0]
    wrong = np.abs(stretch - np.where(maps.first[:, 0] < 150, 0.5, 1.5)) > 0.1
    assert wrong.mean() < 0.05


@pytest.mark.parametrize(
    "linear", [np.diag([-1.0, 1.0]), np.diag([0.1, 1.0]), np.diag([0.1, 0.1]), np.zeros((2, 2))]
)
def test_mirrored_and_extreme_maps_are_none(linear):
    first = points(3, 100)
    assert not len(verified(first, first @ linear.T, **LIMITS))


@pytest.mark.parametrize("count", [0, 1, 10])
def test_few_matches_are_none(count):
    assert not len(verified(points(4, count), points(4, count), **LIMITS))


def test_points_in_a_line_give_no_map():
    line = np.stack([np.arange(50.0), np.full(50, 3.0)], axis=1)
    assert not len(verified(line, line, **LIMITS))
