import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.data.warp import (
    Square,
    WarpSettings,
    inside_frame,
    random_warp,
    square_matrix,
    warp_image,
    warp_mask,
    warp_soft_mask,
)
from rba.errors import InputError
from rba.geometry import project

STRONG = WarpSettings(rotation=30, scale=(0.7, 1.4), perspective=0.1, translation=0.1)


def centre(weights):
    y, x = np.mgrid[0 : weights.shape[0], 0 : weights.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def gaussian(side, x, y, sigma):
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(100, 156), st.floats(100, 156), st.sampled_from([64, 300]))
def test_a_bright_blob_lands_where_the_matrix_says(seed, x, y, side):
    matrix = random_warp(STRONG, np.random.default_rng(seed), side) @ square_matrix(
        Square(20.0, 30.5, 210.0), side
    )
    warped = warp_image(gaussian(256, x, y, 3.0), matrix, side)
    expected = project(np.array([[x, y]]), matrix)[0]
    # 0.15 pixel: OpenCV interpolates at 1/32 pixel, and a perspective map moves a blob's centre.
    if inside_frame(expected[None] - 20, side - 40)[0]:
        np.testing.assert_allclose(centre(warped), expected, atol=0.15)


@pytest.mark.parametrize("side", [100, 40, 250])
def test_identity_on_a_square_is_a_plain_resize(side):
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:60, 30:80] = 200
    warped = warp_image(image, square_matrix(Square(0, 0, 100), side), side)
    assert warped.shape == (side, side, 3)
    scale = side / 100
    np.testing.assert_allclose(centre(warped[..., 0]), np.array([55, 40]) * scale, atol=0.02 * side)
    assert warped[..., 0].mean() == pytest.approx(image[..., 0].mean(), rel=0.02)
    if side == 100:
        np.testing.assert_array_equal(warped, image)


def test_shrinking_averages_over_area():
    checker = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checker[..., None], 3, axis=2)
    warped = warp_image(image, square_matrix(Square(0, 0, 256), 32), 32)
    assert np.abs(warped[2:-2, 2:-2].astype(int) - 127).max() <= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_soft_masks_have_the_true_area_and_place(seed):
    mask = np.zeros((128, 128), bool)
    mask[50:70, 40:75] = True
    matrix = random_warp(STRONG, np.random.default_rng(seed), 64) @ np.diag([0.5, 0.5, 1.0])
    soft = warp_soft_mask(mask, matrix, 64)
    assert soft.dtype == np.float32
    assert 0.0 <= soft.min() <= soft.max() <= 1.0
    corners = project(np.array([[40.0, 50], [75, 50], [75, 70], [40, 70]]), matrix)
    x, y = corners.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if inside_frame(corners, 64).all():
        assert soft.sum() == pytest.approx(area, rel=0.05)
        sums = [((axis + np.roll(axis, -1)) * cross).sum() for axis in (x, y)]
        np.testing.assert_allclose(centre(soft), np.array(sums) / (6 * area), atol=0.1)


@pytest.mark.parametrize("factor", [0.9, 0.3, 0.05, 0.01])
def test_a_single_pixel_does_not_vanish(factor):
    mask = np.zeros((600, 600), bool)
    mask[301, 299] = True
    soft = warp_soft_mask(mask, np.diag([factor, factor, 1.0]), 32)
    inside = 301 * factor < 32
    assert bool((soft >= 0.5).any()) is inside
    if inside:
        np.testing.assert_allclose(centre(soft), [299.5 * factor, 301.5 * factor], atol=1.0)


def test_what_leaves_the_frame_is_empty():
    mask = np.zeros((64, 64), bool)
    mask[:5, :5] = True
    assert warp_soft_mask(mask, square_matrix(Square(32, 32, 32), 32), 32).sum() == 0


def test_hard_masks_keep_half_covered_pixels():
    mask = np.zeros((64, 64), bool)
    mask[:, :31] = True
    hard = warp_mask(mask, np.diag([0.5, 0.5, 1.0]), 32)
    assert hard.dtype == bool
    assert hard[:, :15].all()
    assert not hard[:, 16:].any()


def test_no_warp_is_the_identity():
    matrix = random_warp(WarpSettings(), np.random.default_rng(0), 50)
    np.testing.assert_allclose(matrix / matrix[2, 2], np.eye(3), atol=1e-6)


def test_warps_never_mirror():
    for seed in range(200):
        matrix = random_warp(STRONG, np.random.default_rng(seed), 1)
        (a, b, c) = project(np.array([[0.5, 0.5], [0.6, 0.5], [0.5, 0.6]]), matrix)
        u, v = b - a, c - a
        assert u[0] * v[1] - u[1] * v[0] > 0


@pytest.mark.parametrize(
    "bad", [{"scale": (2.0, 1.0)}, {"scale": (0.0, 1.0)}, {"scale": (1.0,)}, {"rotation": -1},
            {"perspective": 0.6}, {"translation": 2}],
)  # fmt: skip
def test_bad_ranges(bad):
    with pytest.raises(InputError, match=rf"warp\.{next(iter(bad))}"):
        WarpSettings(**bad)
