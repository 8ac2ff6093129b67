"""Boxes, crops and masks: round trips, exact oracles, and masks that must not vanish."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from scipy import ndimage

from rba.geometry import (
    Box,
    cells_to_pixels,
    crop,
    feather,
    mask_box,
    mask_to_latent,
    mask_to_queries,
    paste,
    project,
    resize,
    resize_mask,
    square_around,
    tokens_to_grid,
)

HEIGHT, WIDTH = 12, 17
sides = st.integers(1, 40)
small_masks = numpy_strategies.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def image(channels: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (HEIGHT, WIDTH, *channels), dtype=np.uint8)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Any box of at least one pixel, inside, across and outside a picture of 17 x 12."""
    x0, y0 = draw(st.integers(-30, 40)), draw(st.integers(-30, 40))
    return Box(x0, y0, x0 + draw(st.integers(1, 50)), y0 + draw(st.integers(1, 50)))


@st.composite
def inner_boxes(draw: st.DrawFn, height: int, width: int) -> Box:
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


def meets(box: Box) -> bool:
    return box.x0 < WIDTH and box.y0 < HEIGHT and box.x1 > 0 and box.y1 > 0


def filled(box: Box, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)] = True
    return mask


def test_a_box_knows_its_size_and_grows_on_every_side() -> None:
    box = Box(3, 5, 10, 7)
    assert (box.width, box.height) == (7, 2)
    assert box.grown(2) == Box(1, 3, 12, 9)
    assert box.grown(2).grown(-2) == box


@given(inner_boxes(HEIGHT, WIDTH))
def test_the_box_of_a_filled_box_is_that_box(box: Box) -> None:
    assert mask_box(filled(box, HEIGHT, WIDTH)) == box


def test_the_box_of_two_far_pixels_holds_both() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2, 15] = mask[9, 4] = True
    assert mask_box(mask) == Box(4, 2, 16, 10)


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="mask of 17x12 pixels is empty"):
        mask_box(np.zeros((HEIGHT, WIDTH), bool))


@given(inner_boxes(HEIGHT, WIDTH), st.integers(1, 30))
def test_a_square_holds_its_box_and_stays_inside_where_it_fits(box: Box, side: int) -> None:
    square = square_around(box, HEIGHT, WIDTH, side)
    assert square.width == square.height == max(side, box.width, box.height)
    assert square.x0 <= box.x0
    assert square.y0 <= box.y0
    assert square.x1 >= box.x1
    assert square.y1 >= box.y1
    for low, high, length in ((square.x0, square.x1, WIDTH), (square.y0, square.y1, HEIGHT)):
        if square.width <= length:
            assert low >= 0
            assert high <= length
        else:
            assert low <= 0
            assert high >= length
            assert abs(-low - (high - length)) <= 1, "centred on the image"


def test_a_square_in_the_middle_is_centred_on_its_box() -> None:
    assert square_around(Box(48, 50, 52, 54), 100, 100, 20) == Box(40, 42, 60, 62)


@pytest.mark.parametrize("channels", [(), (3,)])
@given(box=boxes(), fill=st.sampled_from([None, 0, 255]))
def test_pasting_a_crop_back_changes_nothing(
    channels: tuple[int, ...], box: Box, fill: int | None
) -> None:
    picture = image(channels)
    assume(meets(box))
    patch = crop(picture, box, fill=fill)
    assert patch.shape == (box.height, box.width, *channels)
    np.testing.assert_array_equal(paste(picture, patch, box), picture)


@given(boxes())
def test_a_crop_shows_the_picture_inside_and_its_edge_or_the_fill_outside(box: Box) -> None:
    assume(meets(box))
    picture = image((3,))
    rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
    nearest = picture[np.ix_(rows.clip(0, HEIGHT - 1), columns.clip(0, WIDTH - 1))]
    np.testing.assert_array_equal(crop(picture, box), nearest)
    outside = (rows < 0) | (rows >= HEIGHT)
    outside = outside[:, None] | (columns < 0) | (columns >= WIDTH)
    np.testing.assert_array_equal(
        crop(picture, box, fill=7), np.where(outside[..., None], 7, nearest)
    )


@given(boxes())
def test_a_paste_writes_the_box_and_nothing_else(box: Box) -> None:
    assume(meets(box))
    picture = image((3,)) // 2
    patch = np.full((box.height, box.width, 3), 255, np.uint8)
    changed = (paste(picture, patch, box) != picture).all(axis=-1)
    np.testing.assert_array_equal(changed, filled(box, HEIGHT, WIDTH))
    assert picture.max() <= 127, "the picture itself stays"


@given(boxes())
def test_a_box_wholly_outside_is_refused(box: Box) -> None:
    assume(not meets(box))
    with pytest.raises(ValueError, match="outside the image of 17x12 pixels"):
        crop(image(), box)
    with pytest.raises(ValueError, match="outside the image of 17x12 pixels"):
        paste(image(), np.zeros((box.height, box.width), np.uint8), box)


def test_a_crop_is_a_copy() -> None:
    picture = image()
    before = picture.copy()
    crop(picture, Box(2, 2, 6, 6))[:] = 0
    resize(picture, HEIGHT, WIDTH)[:] = 0
    np.testing.assert_array_equal(picture, before)


def test_shrinking_an_image_averages_areas() -> None:
    picture = np.random.default_rng(0).random((16, 24)).astype(np.float32)
    expected = picture.reshape(4, 4, 6, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(picture, 4, 6), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("size", [(5, 7), (12, 17), (40, 64), (6, 60)])
def test_a_flat_picture_stays_flat_at_any_size(value: int, size: tuple[int, int]) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    resized = resize(flat, *size)
    assert resized.shape == (*size, 3)
    assert (resized == value).all()


@given(small_masks, sides, sides)
@settings(max_examples=300)
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


MATRIX = np.array([[1.1, 0.2, 3.0], [-0.1, 0.9, 5.0], [1e-3, -2e-3, 1.0]])


def test_project_is_the_homography_written_out() -> None:
    points = np.random.default_rng(0).random((4, 5, 2)) * 100
    x, y = points[..., 0], points[..., 1]
    (a, b, c), (d, e, f), (g, h, i) = MATRIX
    w = g * x + h * y + i
    expected = np.stack([(a * x + b * y + c) / w, (d * x + e * y + f) / w], axis=-1)
    np.testing.assert_allclose(project(points, MATRIX), expected, rtol=1e-12)


def test_projecting_forth_and_back_returns_every_point() -> None:
    points = np.random.default_rng(1).random((50, 2)) * 64
    there = project(points, MATRIX)
    np.testing.assert_allclose(project(there, np.linalg.inv(MATRIX)), points, atol=1e-9)
    np.testing.assert_allclose(project(points, 7.0 * MATRIX), there, rtol=1e-12)


def test_corners_meet_their_targets_under_opencv_s_own_homography() -> None:
    corners = np.array([[0, 0], [64, 0], [64, 64], [0, 64]], np.float32)
    targets = np.array([[3, 5], [60, 1], [58, 66], [-4, 50]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, targets)
    np.testing.assert_allclose(project(corners, matrix), targets, atol=1e-4)


def test_projecting_no_point_gives_no_point() -> None:
    assert project(np.zeros((0, 2)), MATRIX).shape == (0, 2)


def test_tokens_are_laid_out_row_by_row() -> None:
    grid = tokens_to_grid(torch.arange(32).reshape(2, 16))
    assert grid.shape == (2, 4, 4)
    assert grid[1, 2, 3] == 16 + 2 * 4 + 3
    torch.testing.assert_close(grid.flatten(-2), torch.arange(32).reshape(2, 16))


@pytest.mark.parametrize("count", [2, 15, 255, 257])
def test_tokens_that_form_no_square_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} tokens"):
        tokens_to_grid(torch.zeros(1, count))
