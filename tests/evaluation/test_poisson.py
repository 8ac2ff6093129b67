"""Poisson blending against a dense solve of the paper's equations, and by pictures with answers."""

import cv2
import numpy as np
import pytest

from rba.evaluation.baselines.poisson import poisson_blend


def dense(
    image: np.ndarray, patch: np.ndarray, covered: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Equation 7 pixel by pixel, least squares in numpy."""
    places = [tuple(place) for place in np.argwhere(mask)]
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), 3))
    for row, (y, x) in enumerate(places):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]):
                continue
            matrix[row, row] += 1
            if covered[y, x] and covered[v, u]:
                right[row] += patch[y, x] - patch[v, u]
            if mask[v, u]:
                matrix[row, places.index((v, u))] -= 1
            else:
                right[row] += image[v, u]
    result = image.copy()
    result[mask] = np.clip(np.rint(np.linalg.solve(matrix, right)), 0, 255)
    return result


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_dense_solve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(80, 120, (11, 13, 3)).astype(np.uint8)
    patch = rng.uniform(80, 120, (11, 13, 3))
    mask = cv2.dilate((rng.random((11, 13)) < 0.1).astype(np.uint8), np.ones((3, 3))).astype(bool)
    mask[0, 0] = False
    covered = rng.random((11, 13)) < (1.0, 0.8, 0.5, 0.2, 0.0)[seed]
    blended = poisson_blend(image, patch, covered, mask)
    # A value on the edge of two grey levels may round either way.
    np.testing.assert_allclose(blended, dense(image, patch, covered, mask).astype(float), atol=1)
    np.testing.assert_array_equal(blended[~mask], image[~mask])


def test_the_truth_in_other_light_gives_the_truth() -> None:
    coarse = np.random.default_rng(0).integers(60, 200, (8, 8, 3)).astype(np.uint8)
    truth = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((48, 48), bool)
    mask[10:30, 12:40] = True
    image = np.where(mask[..., None], np.uint8(0), truth)
    everywhere = np.ones((48, 48), bool)
    blended = poisson_blend(image, truth.astype(np.float64) + 31.0, everywhere, mask)
    np.testing.assert_array_equal(blended, truth)


def test_the_defect_itself_leaves_no_trace() -> None:
    rng = np.random.default_rng(1)
    image, patch = rng.integers(0, 256, (2, 20, 20, 3)).astype(np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:12, 4:15] = True
    other = np.where(mask[..., None], 255 - image, image)
    everywhere = np.ones((20, 20), bool)
    pair = [poisson_blend(i, patch.astype(float), everywhere, mask) for i in (image, other)]
    np.testing.assert_array_equal(*pair)


def test_without_a_patch_colours_spread_between_the_borders() -> None:
    image = np.zeros((3, 9, 3), np.uint8)
    image[:, -1] = 80
    mask = np.zeros((3, 9), bool)
    mask[:, 1:-1] = True
    blended = poisson_blend(image, np.zeros((3, 9, 3)), np.zeros((3, 9), bool), mask)
    np.testing.assert_array_equal(blended[..., 0], [[0, 10, 20, 30, 40, 50, 60, 70, 80]] * 3)


def test_one_pixel_and_a_whole_picture() -> None:
    image = np.full((5, 5, 3), 40, np.uint8)
    image[2, 2] = 255
    one = image[..., 0] == 255
    patch = np.full((5, 5, 3), 7.4)
    everywhere = np.ones((5, 5), bool)
    assert (poisson_blend(image, patch, everywhere, one) == 40).all()
    assert (poisson_blend(image, patch, everywhere, everywhere) == 7).all()
    np.testing.assert_array_equal(poisson_blend(image, patch, ~everywhere, everywhere), image)
