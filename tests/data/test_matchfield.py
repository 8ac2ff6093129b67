import cv2
import numpy as np
import pytest

from rba.data.matchfield import MatchField, lattice_points, lattice_spacing, lattice_split, splat
from rba.data.sample import match_grid_shape
from rba.geometry import project

HOMOGRAPHY = np.array([[0.9, 0.2, 10.0], [-0.15, 1.1, 8.0], [2e-4, -1e-4, 1.0]])


def matches_of(mapping, height, width, reference):
    rows, columns = match_grid_shape(height, width)
    y, x = np.mgrid[0:rows, 0:columns] * 8.0 + 4.5
    mapped = mapping(np.stack([x, y], axis=2).reshape(-1, 2)).reshape(rows, columns, 2)
    grid = np.ones((rows, columns, 3))
    grid[..., :2] = mapped / (reference[1], reference[0])
    return grid.astype(np.float32)  # not float16: its rounding is tested apart


def pixels(height, width):
    return lattice_points(np.ones((height, width), bool), 1)


@pytest.mark.parametrize("size", [(96, 128), (93, 121), (17, 9)])
def test_an_affine_map_is_exact_up_to_the_border(size):
    def affine(points):
        return points @ np.array([[0.7, 0.3], [-0.2, 1.1]]) + (5, 3)

    field = MatchField(matches_of(affine, *size, (150, 180)), (150, 180))
    points = pixels(*size)
    np.testing.assert_allclose(field(points), affine(points), atol=1e-4)


def test_a_homography_is_read_to_a_fraction_of_a_pixel():
    grid = matches_of(lambda points: project(points, HOMOGRAPHY), 96, 128, (150, 180))
    points = pixels(96, 128)
    error = MatchField(grid, (150, 180))(points) - project(points, HOMOGRAPHY)
    assert np.abs(error).max() < 0.05


def test_float16_costs_less_than_a_pixel_at_1024():
    grid = matches_of(lambda points: points, 1024, 1024, (1024, 1024)).astype(np.float16)
    points = pixels(1024, 1024)[::97]
    assert np.abs(MatchField(grid, (1024, 1024))(points) - points).max() < 0.51


def test_a_pixel_without_a_near_match_has_none():
    grid = matches_of(lambda points: points, 64, 64, (64, 64))
    grid[2:5, 3:6] = np.nan
    mapped = MatchField(grid, (64, 64))(pixels(64, 64)).reshape(64, 64, 2)
    missing = np.isnan(mapped[..., 0])
    expected = np.zeros((64, 64), bool)
    expected[16:40, 24:48] = True
    assert (missing == expected).mean() > 0.98  # ties at half a cell fall either way
    known = ~missing
    np.testing.assert_allclose(mapped[known], pixels(64, 64).reshape(64, 64, 2)[known], atol=1e-4)


def test_low_confidence_is_left_out():
    grid = matches_of(lambda points: points, 64, 64, (64, 64))
    grid[:, 4:, 2] = 0.05
    field = MatchField(grid, (64, 64), min_confidence=0.1)
    assert field.valid[:, :4].all()
    assert not field.valid[:, 4:].any()


def test_nothing_is_interpolated_across_an_occlusion():
    jump = np.array([60.0, 0.0])

    def two_surfaces(points):
        return np.where(points[:, :1] < 32, points, points + jump)

    field = MatchField(matches_of(two_surfaces, 64, 64, (64, 160)), (64, 160))
    points = pixels(64, 64)
    mapped = field(points)
    # Beside the edge a pixel may take the other surface's place, but never one between.
    own = np.minimum(
        np.abs(mapped - points).max(axis=1), np.abs(mapped - points - jump).max(axis=1)
    )
    assert own.max() <= 4.0 + 1e-3
    far = np.abs(points[:, 0] - 32) > 8
    np.testing.assert_allclose(mapped[far], two_surfaces(points)[far], atol=1e-4)


def rasterise(mask, mapping, side):
    spacing = lattice_spacing(mask, mapping(lattice_points(mask, 1)))
    split = lattice_split(int(mask.sum()), spacing)
    return splat(mapping(lattice_points(mask, split)), side, spacing / split)


@pytest.mark.parametrize("zoom", [0.3, 0.7, 1.0, 2.3, 5.0])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_a_hole_is_drawn_without_gaps_at_any_scale(zoom, angle):
    mask = np.zeros((64, 64), bool)
    mask[24:40, 20:44] = True
    turn = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def mapping(points):
        return (points - 32) @ turn + 80

    soft = rasterise(mask, mapping, 160)
    corners = mapping(np.array([[20.0, 24], [44, 24], [44, 40], [20, 40]]))
    exact = cv2.fillConvexPoly(
        np.zeros((1600, 1600), np.uint8), np.rint(corners * 10).astype(np.int32), 1
    )
    exact = cv2.resize(exact.astype(np.float32), (160, 160), interpolation=cv2.INTER_AREA)
    overlap = np.minimum(soft, exact).sum() / np.maximum(soft, exact).sum()
    assert overlap > (0.85 if zoom > 0.5 else 0.7)
    assert soft[exact == 1.0].min() > 0.5


def test_a_split_is_affordable_and_fine_enough():
    assert lattice_split(100, 0.3) == 1
    assert lattice_split(100, 2.0) == 4
    assert lattice_split(10**6, 5.0) == 1


def test_lonely_and_absent_points():
    mask = np.zeros((8, 8), bool)
    mask[3, 3] = True
    assert lattice_spacing(mask, np.array([[5.0, 5.0]])) == 1.0
    assert splat(np.array([[10.2, 4.7]]), 16, 1.0)[4, 10] == 1.0
    assert splat(np.array([[np.nan, np.nan], [-1.0, 3.0], [16.0, 3.0]]), 16, 1.0).sum() == 0
    assert MatchField(np.full((2, 2, 3), np.nan), (16, 16))(np.empty((0, 2))).shape == (0, 2)
