"""Crops of any image and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.data.alignment import around
from rba.data.recipe import on_black
from rba.data.warp import square_matrix, warp_image
from rba.geometry import Box, mask_box
from rba.inference.frames import (
    cells_on_reference,
    images_to_tensor,
    mask_in_frame,
    paste_back,
    reference_frame,
    region_frame,
    tensor_to_images,
    zoom_in,
)

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(SIZES, st.integers(0, 2**31), st.sampled_from([None, 1.1, 3.0]), st.integers(0, 8))
def test_paste_back_is_bit_equal_outside_and_total_inside(
    size: tuple[int, int], seed: int, factor: float | None, dilation: int
) -> None:
    height, width = size
    rng = np.random.default_rng(seed)
    image = noise(height, width, seed)
    mask = rng.random((height, width)) > rng.random()
    mask[rng.integers(height), rng.integers(width)] = True
    frame = zoom_in(image, mask, 32, factor=factor, magnification=4.0)
    assert frame.pixels.shape == (32, 32, 3)
    assert frame.mask.any()
    patch = np.full((32, 32, 3), 77, np.uint8)
    result, weights = paste_back(image, mask, patch, frame.box, (dilation, 8 - dilation))
    assert result.shape == image.shape
    assert (result[mask] == 77).all()
    # The promise: nothing further than 8 pixels of the crop from the mask has changed.
    changed = (result != image).any(axis=2)
    rows, columns = np.nonzero(mask)
    for y, x in np.argwhere(changed & ~mask)[:20]:
        distance = np.sqrt(((rows - y) ** 2 + (columns - x) ** 2).min())
        assert distance * 32 / frame.box.width <= 8.0
    assert weights.shape == (frame.box.height, frame.box.width)


def test_zoom_in_is_square_holds_the_mask_and_respects_its_bounds() -> None:
    image = noise(300, 400)
    mask = np.zeros((300, 400), bool)
    mask[100:110, 200:230] = True
    frame = zoom_in(image, mask, 64, factor=3.0, magnification=4.0)
    assert frame.box.width == frame.box.height == 90
    assert frame.box.x0 <= 200
    assert frame.box.x1 >= 230
    tiny = np.zeros((300, 400), bool)
    tiny[299, 0] = True
    assert zoom_in(image, tiny, 64, factor=3.0, magnification=4.0).box.width == 16
    assert zoom_in(image, tiny, 64, factor=None, magnification=4.0).box.width == 400
    assert zoom_in(image, ~tiny, 64, factor=3.0, magnification=4.0).box.width == 400


def test_small_images_repeat_their_edge_and_keep_the_mask_inside() -> None:
    image = noise(10, 40)
    mask = np.zeros((10, 40), bool)
    mask[:, 10:30] = True
    frame = zoom_in(image, mask, 40, factor=3.0, magnification=1.0)
    assert frame.box.height == 40
    assert np.array_equal(frame.pixels[15:25], image)
    assert (frame.pixels[:15] == image[0]).all()
    assert np.array_equal(frame.mask[15:25], mask)
    assert not frame.mask[:15].any()


def test_reference_is_squared_on_black_and_the_object_cut_out() -> None:
    reference = np.maximum(noise(20, 40), 1)
    frame = reference_frame(reference, None, 40, object_margin=0.1)
    assert frame.box == Box(0, -10, 40, 30)
    assert np.array_equal(frame.pixels[10:30], reference)
    assert not frame.pixels[:10].any()
    assert frame.mask[10:30].all()
    assert not frame.mask[:10].any()
    mask = np.zeros((20, 40), bool)
    mask[5:15, 5:35] = True
    frame = reference_frame(reference, mask, 36, object_margin=0.1)
    assert frame.box == Box(2, -8, 38, 28)
    assert np.array_equal(frame.pixels.any(axis=2), frame.mask)
    assert np.array_equal(frame.mask[8:28], mask[:, 2:38])
    assert reference_frame(reference, mask, 36, object_margin=0.0).box == Box(5, -5, 35, 25)
    assert reference_frame(reference, mask & False, 36, object_margin=0.1).box.width == 40


@pytest.mark.parametrize("object_box", [(10, 30, 70, 60), (0, 0, 33, 20), (50, 41, 96, 96)])
def test_the_object_is_framed_as_in_training(object_box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = object_box
    mask = np.zeros((96, 96), bool)
    mask[y0:y1, x0:x1] = True
    smooth = np.dstack([np.add.outer(np.arange(96), np.arange(96)) + 30] * 3).astype(np.uint8)
    matrix = square_matrix(around(mask_box(mask), 0.1), 64)
    trained = warp_image(on_black(smooth, mask), matrix, 64)
    frame = reference_frame(smooth, mask, 64, object_margin=0.1)
    assert np.abs(trained.astype(int) - frame.pixels).mean() < 6
    whole = reference_frame(smooth, None, 64, object_margin=0.1)
    assert np.abs(trained.astype(int) - whole.pixels).mean() > 30


@pytest.mark.parametrize("size", [(40, 40), (20, 41), (97, 33), (400, 30)])
def test_cells_come_back_to_the_original_reference(size: tuple[int, int]) -> None:
    frame = reference_frame(noise(*size), None, 32, object_margin=0.1)
    assert cells_on_reference(np.ones((8, 8), bool), frame, *size).all()
    cells = np.zeros((8, 8), bool)
    cells[3:5, 4] = True
    region = cells_on_reference(cells, frame, *size)
    assert region.shape == size
    if region.any():
        side = max(size)
        box = mask_box(region)
        centre = (box.x0 + box.x1) / 2 + (side - size[1]) / 2
        assert abs(centre / side - 4.5 / 8) < 1 / 8


def test_a_mask_goes_to_the_frame_and_back() -> None:
    frame = reference_frame(noise(64, 64), None, 32, object_margin=0.1)
    cells = np.zeros((8, 8), bool)
    cells[2:4, 5:7] = True
    region = cells_on_reference(cells, frame, 64, 64)
    soft = mask_in_frame(region, frame)
    assert np.array_equal(soft >= 0.5, np.kron(cells, np.ones((4, 4), bool)))


def test_cells_of_an_object_come_back_to_its_place() -> None:
    mask = np.zeros((100, 80), bool)
    mask[40:80, 50:80] = True
    frame = reference_frame(noise(100, 80), mask, 32, object_margin=0.1)
    assert frame.box == Box(41, 36, 89, 84)  # it reaches 9 pixels outside
    shown = np.zeros((100, 80), bool)
    shown[36:84, 41:80] = True
    assert np.array_equal(cells_on_reference(np.ones((8, 8), bool), frame, 100, 80), shown)
    cells = np.zeros((8, 8), bool)
    cells[1, 2:4] = True
    region = cells_on_reference(cells, frame, 100, 80)
    assert mask_box(region) == Box(53, 42, 65, 48)
    assert region.sum() == 12 * 6
    assert np.array_equal(mask_in_frame(region, frame) >= 0.5, np.kron(cells, np.ones((4, 4))))


def test_region_is_cut_from_the_original_with_one_cell_around() -> None:
    reference = noise(160, 320)
    region = np.zeros((160, 320), bool)
    region[60:80, 100:140] = True
    complete = reference_frame(reference, None, 80, object_margin=0.1)
    frame = region_frame(reference, None, region, complete, cells=16)
    assert (frame.box.x0, frame.box.x1) == (80, 160)
    assert (frame.box.y0, frame.box.y1) == (30, 110)
    assert np.array_equal(frame.pixels, reference[30:110, 80:160])
    assert np.array_equal(frame.mask, region[30:110, 80:160])
    edge = np.zeros((160, 320), bool)
    edge[0, 0] = True
    box = region_frame(reference, None, edge, complete, cells=16).box
    assert (box.x0, box.y0, box.x1, box.y1) == (0, 0, 21, 21)


def test_the_cell_around_a_region_is_one_of_the_objects_frame() -> None:
    reference, mask = noise(160, 320), np.zeros((160, 320), bool)
    mask[40:120, 80:160] = True
    complete = reference_frame(reference, mask, 80, object_margin=0.1)
    assert complete.box.width == 96
    region = np.zeros((160, 320), bool)
    region[60:80, 100:120] = True
    box = region_frame(reference, mask, region, complete, cells=16).box
    assert box == Box(94, 54, 126, 86)  # 6 pixels around


def test_tensors_round_trip() -> None:
    images = [noise(8, 8, seed) for seed in range(3)]
    tensor = images_to_tensor(images)
    assert float(tensor.min()) >= -1.0
    assert float(tensor.max()) <= 1.0
    for image, back in zip(images, tensor_to_images(tensor), strict=True):
        assert np.array_equal(image, back)
