"""Boxes, crops, resizing and homographies: round trips and exact oracles."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.geometry import (
    Box,
    crop,
    mask_box,
    paste,
    project,
    resize,
    square_around,
)

# the same examples on every machine, however slow it is
stable = settings(derandomize=True, deadline=None)

HEIGHT, WIDTH = 12, 17


def image(channels: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (HEIGHT, WIDTH, *channels), dtype=np.uint8)


@st.composite
def spans(draw: st.DrawFn, length: int, *, meets: bool = True) -> tuple[int, int]:
    """A half-open span of pixels that meets ``range(length)``, or lies beside it."""
    if meets:
        low = draw(st.integers(-30, length - 1))
        return low, draw(st.integers(max(low, 0) + 1, length + 30))
    size, gap = draw(st.integers(1, 20)), draw(st.integers(0, 20))
    return draw(st.sampled_from([(-gap - size, -gap), (length + gap, length + gap + size)]))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Any box that shares a pixel with a picture of 17 x 12."""
    (x0, x1), (y0, y1) = draw(spans(WIDTH)), draw(spans(HEIGHT))
    return Box(x0, y0, x1, y1)


@st.composite
def boxes_outside(draw: st.DrawFn) -> Box:
    """Any box that shares no pixel with it."""
    across, along = draw(st.sampled_from([(False, True), (True, False), (False, False)]))
    (x0, x1) = draw(spans(WIDTH, meets=across))
    (y0, y1) = draw(spans(HEIGHT, meets=along))
    return Box(x0, y0, x1, y1)


@st.composite
def inner_boxes(draw: st.DrawFn, height: int, width: int) -> Box:
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


def filled(box: Box, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)] = True
    return mask


def test_a_box_knows_its_size_and_grows_on_every_side() -> None:
    box = Box(3, 5, 10, 7)
    assert (box.width, box.height) == (7, 2)
    assert box.grown(2) == Box(1, 3, 12, 9)
    assert box.grown(2).grown(-2) == box


@stable
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


@stable
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
@stable
@given(box=boxes(), fill=st.sampled_from([None, 0, 255]))
def test_pasting_a_crop_back_changes_nothing(
    channels: tuple[int, ...], box: Box, fill: int | None
) -> None:
    picture = image(channels)
    patch = crop(picture, box, fill=fill)
    assert patch.shape == (box.height, box.width, *channels)
    np.testing.assert_array_equal(paste(picture, patch, box), picture)


@stable
@given(boxes())
def test_a_crop_shows_the_picture_inside_and_its_edge_or_the_fill_outside(box: Box) -> None:
    picture = image((3,))
    rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
    nearest = picture[np.ix_(rows.clip(0, HEIGHT - 1), columns.clip(0, WIDTH - 1))]
    np.testing.assert_array_equal(crop(picture, box), nearest)
    outside = (rows < 0) | (rows >= HEIGHT)
    outside = outside[:, None] | (columns < 0) | (columns >= WIDTH)
    np.testing.assert_array_equal(
        crop(picture, box, fill=7), np.where(outside[..., None], 7, nearest)
    )


@stable
@given(boxes())
def test_a_paste_writes_the_box_and_nothing_else(box: Box) -> None:
    picture = image((3,)) // 2
    patch = np.full((box.height, box.width, 3), 255, np.uint8)
    changed = (paste(picture, patch, box) != picture).all(axis=-1)
    np.testing.assert_array_equal(changed, filled(box, HEIGHT, WIDTH))
    assert picture.max() <= 127, "the picture itself stays"


@stable
@given(boxes_outside())
def test_a_box_wholly_outside_is_refused(box: Box) -> None:
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
