"""Masks between pixel, latent, query and token grids: thin ones must not vanish."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from scipy import ndimage

from rba.geometry import (
    cells_to_pixels,
    feather,
    mask_to_latent,
    mask_to_queries,
    resize_mask,
    tokens_to_grid,
)

# the same examples on every machine, however slow it is
stable = settings(derandomize=True, deadline=None)

sides = st.integers(1, 40)
small_masks = numpy_strategies.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@stable
@given(small_masks, sides, sides)
def test_every_set_pixel_survives_a_resize(mask: np.ndarray, height: int, width: int) -> None:
    resized = resize_mask(mask, height, width)
    assert resized.shape == (height, width)
    assert resized.dtype == bool
    assert resized.any() == mask.any()
    assert resized.all() or not mask.all()
    # the target pixels under the centre of a set pixel: where it grows, those inside it
    for y, x in np.argwhere(mask)[:5]:
        row, column = (2 * y + 1) * height, (2 * x + 1) * width
        row, column = row // (2 * mask.shape[0]), column // (2 * mask.shape[1])
        assert resized[row, column]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((512, 512), (64, 64)),
        ((500, 333), (64, 64)),
        ((100, 10), (20, 60)),
        ((100, 10), (10, 11)),
        ((10, 10), (100, 3)),
    ],
)
@pytest.mark.parametrize("upright", [False, True])
def test_a_stroke_of_one_pixel_stays_whole(
    source: tuple[int, int], target: tuple[int, int], upright: bool
) -> None:
    mask = np.zeros(source, bool)
    if upright:
        mask[:, source[1] // 2] = True
    else:
        mask[source[0] // 2] = True
    resized = resize_mask(mask, *target)
    assert resized.any(axis=0 if not upright else 1).all(), "no gap along the stroke"
    assert not resized.all()


def test_shrinking_a_mask_by_whole_numbers_is_max_pooling() -> None:
    mask = np.random.default_rng(0).random((24, 36)) > 0.9
    expected = mask.reshape(6, 4, 6, 6).any(axis=(1, 3))
    np.testing.assert_array_equal(resize_mask(mask, 6, 6), expected)


@stable
@given(
    numpy_strategies.arrays(bool, (19, 23)),
    st.integers(0, 5),
    st.integers(0, 6),
)
def test_a_feather_is_one_on_the_mask_and_zero_far_away(
    mask: np.ndarray, dilation: int, radius: int
) -> None:
    weights = feather(mask, dilation, radius)
    assert weights.dtype == np.float32
    if not mask.any():
        assert not weights.any()
        return
    distance = ndimage.distance_transform_edt(~mask)
    assert (weights[distance <= dilation] == 1.0).all()
    assert (weights[distance > dilation + radius] == 0.0).all()
    between = (distance > dilation) & (distance <= dilation + radius)
    expected = 1.0 - (distance[between] - dilation) / (radius + 1.0)
    np.testing.assert_allclose(weights[between], expected, atol=1e-5)
    assert ((weights[between] > 0.0) & (weights[between] < 1.0)).all()


def test_a_feather_around_one_pixel_falls_with_distance() -> None:
    mask = np.zeros((1, 21), bool)
    mask[0, 10] = True
    right = feather(mask, dilation=2, radius=3)[0, 10:]
    np.testing.assert_allclose(right, [1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0], atol=1e-6)


def test_a_full_mask_has_weight_one_everywhere() -> None:
    assert (feather(np.ones((9, 9), bool), 2, 4) == 1.0).all()


@stable
@given(numpy_strategies.arrays(bool, (16, 24)))
def test_a_touched_latent_cell_counts(mask: np.ndarray) -> None:
    latent = mask_to_latent(torch.from_numpy(mask)[None, None], 8)
    expected = mask.reshape(2, 8, 3, 8).any(axis=(1, 3))
    np.testing.assert_array_equal(latent[0, 0].numpy(), expected.astype(np.float32))


def test_each_single_pixel_touches_exactly_its_latent_cell() -> None:
    masks = torch.eye(64, dtype=torch.bool).reshape(64, 1, 8, 8)
    latent = mask_to_latent(masks, 4)
    assert latent.shape == (64, 1, 2, 2)
    for pixel in range(64):
        cell = (pixel // 8 // 4, pixel % 8 // 4)
        assert latent[pixel, 0].sum() == 1.0
        assert latent[pixel, 0][cell] == 1.0


def test_queries_are_area_means() -> None:
    masks = torch.from_numpy(np.random.default_rng(0).random((3, 1, 64, 64)) > 0.7)
    queries = mask_to_queries(masks, 16)
    expected = masks.float().reshape(3, 16, 4, 16, 4).mean(dim=(2, 4))
    torch.testing.assert_close(queries, expected)


@stable
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 16), st.integers(0), st.integers(0))
def test_a_mask_of_one_pixel_keeps_a_query(
    height: int, width: int, side: int, y: int, x: int
) -> None:
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[0, 0, y % height, x % width] = True
    queries = mask_to_queries(mask, side)
    assert queries.shape == (1, side, side)
    assert queries.max() > 0
    assert queries.min() >= 0
    assert queries.max() <= 1


@stable
@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 50), st.integers(1, 50))
def test_a_pixel_shows_the_cell_that_holds_its_centre(
    rows: int, columns: int, height: int, width: int
) -> None:
    cells = np.arange(rows * columns).reshape(rows, columns)
    pixels = cells_to_pixels(cells, height, width)
    ys = [int((y + 0.5) / height * rows + 1e-9) for y in range(height)]
    xs = [int((x + 0.5) / width * columns + 1e-9) for x in range(width)]
    np.testing.assert_array_equal(pixels, cells[np.ix_(ys, xs)])


def test_pixels_averaged_over_their_cell_give_the_cells_back() -> None:
    cells = np.random.default_rng(0).random((16, 16)) > 0.5
    pixels = cells_to_pixels(cells, 224, 224)
    np.testing.assert_array_equal(pixels[::-1], cells_to_pixels(cells[::-1], 224, 224))
    queries = mask_to_queries(torch.from_numpy(pixels)[None, None], 16)[0]
    np.testing.assert_array_equal(queries.numpy(), cells.astype(np.float32))


def test_tokens_are_laid_out_row_by_row() -> None:
    grid = tokens_to_grid(torch.arange(32).reshape(2, 16))
    assert grid.shape == (2, 4, 4)
    assert grid[1, 2, 3] == 16 + 2 * 4 + 3
    torch.testing.assert_close(grid.flatten(-2), torch.arange(32).reshape(2, 16))


@pytest.mark.parametrize("count", [2, 15, 255, 257])
def test_tokens_that_form_no_square_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} tokens"):
        tokens_to_grid(torch.zeros(1, count))
