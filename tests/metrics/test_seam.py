"""The seam against loops over every pair of neighbours."""

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from rba.metrics.seam import seam_visibility


def by_loops(image: np.ndarray, mask: np.ndarray) -> float:
    height, width = mask.shape
    own = np.where(mask, distance_transform_edt(mask), distance_transform_edt(~mask))
    across: list[float] = []
    beside: list[float] = []
    for y in range(height):
        for x in range(width):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v >= height or u >= width:
                    continue
                step = np.mean([abs(int(image[y, x, c]) - int(image[v, u, c])) for c in range(3)])
                if mask[y, x] != mask[v, u]:
                    across.append(float(step))
                elif own[y, x] <= 4 and own[v, u] <= 4:
                    beside.append(float(step))
    return (np.mean(across) + 1.0) / (np.mean(beside) + 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (17, 23, 3)).astype(np.uint8)
    mask = np.zeros((17, 23), bool)
    mask[4 : 5 + 3 * seed, 6:15] = True
    mask[10, :4] = True
    assert seam_visibility(image, mask) == pytest.approx(by_loops(image, mask), rel=1e-12)


def test_a_known_seam() -> None:
    image = np.full((12, 12, 3), 60, np.uint8)
    mask = np.zeros((12, 12), bool)
    mask[4:8, 4:8] = True
    assert seam_visibility(image, mask) == 1.0
    image[mask] = 69
    assert seam_visibility(image, mask) == 10.0


def test_a_seam_in_busy_surroundings_counts_less() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    calm, busy = (rng.integers(100, 100 + spread, (32, 32, 3)) for spread in (3, 60))
    seams = [
        seam_visibility((part + 40 * mask[..., None]).astype(np.uint8), mask)
        for part in (calm, busy)
    ]
    assert seams[0] > 10 > seams[1] > 1


@pytest.mark.parametrize("full", [True, False])
def test_without_a_border_it_is_not_defined(full: bool) -> None:
    assert math.isnan(seam_visibility(np.zeros((5, 5, 3), np.uint8), np.full((5, 5), full)))


def test_one_pixel_pictures_and_borders() -> None:
    image = np.array([[[0] * 3, [9] * 3]], np.uint8)
    assert math.isnan(seam_visibility(image, np.array([[True, False]])))
    wide = np.array([[[0] * 3, [9] * 3, [9] * 3]], np.uint8)
    assert seam_visibility(wide, np.array([[True, False, False]])) == 10.0


def test_sizes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes disagree"):
        seam_visibility(np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), bool))
