import cv2
import numpy as np
import pytest

from rba.geometry import project
from rba.matching.exact import node_positions
from rba.matching.sift import sift_features, sift_matches

HOMOGRAPHY = np.array([[0.9, 0.2, 10.0], [-0.15, 0.95, 40.0], [2e-4, -1e-4, 1.0]])


def textured(height, width, seed):
    """A picture with corners and blobs at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    for _ in range(220):
        corner = rng.integers(-10, (width, height))
        size = rng.integers(4, 30, 2)
        color = tuple(int(c) for c in rng.integers(0, 255, 3))
        cv2.rectangle(picture, corner.tolist(), (corner + size).tolist(), color, -1)
    return cv2.GaussianBlur(picture, (3, 3), 0)


def warped_pair(seed):
    target = textured(256, 300, seed)
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    matrix = np.linalg.inv(shift) @ HOMOGRAPHY @ shift
    return target, cv2.warpPerspective(target, matrix, (310, 270))


def truth(height, width):
    x, y = np.meshgrid(node_positions(width), node_positions(height))
    return project(np.stack([x, y], axis=2), HOMOGRAPHY)


def test_a_known_homography_is_found():
    target, reference = warped_pair(0)
    matches = sift_matches(sift_features(target), sift_features(reference)).astype(float)
    assert matches.shape == (32, 38, 3)
    expected = truth(256, 300)
    seen = ((expected >= 0) & (expected < (310, 270))).all(axis=2)
    known = np.isfinite(matches[..., 0])
    assert known[seen].mean() > 0.5
    assert not known[~seen].all()
    error = np.linalg.norm(matches[..., :2] * (310, 270) - expected, axis=2)[known & seen]
    assert np.median(error) < 0.5
    assert (error < 4).mean() > 0.97
    confidence = matches[..., 2][known]
    assert 0 < confidence.min() <= confidence.max() <= 1


def test_different_pictures_hardly_match():
    first, second = sift_features(textured(256, 256, 0)), sift_features(textured(256, 256, 1))
    matches = sift_matches(first, second)
    assert np.isfinite(matches[..., 0]).mean() < 0.02


def test_only_objects_are_matched():
    target, reference = warped_pair(2)
    mask = np.zeros((256, 300), bool)
    mask[80:180, 90:200] = True
    matches = sift_matches(sift_features(target, mask), sift_features(reference))
    known = np.isfinite(matches[..., 0])
    assert known.sum() > 20
    rows, columns = np.nonzero(known)
    assert mask[rows * 8 + 4, columns * 8 + 4].all()


@pytest.mark.parametrize("size", [(256, 300), (40, 9)])
def test_flat_pictures_have_no_matches(size):
    flat = sift_features(np.full((*size, 3), 90, np.uint8))
    matches = sift_matches(flat, flat)
    assert matches.shape == (-(-size[0] // 8), -(-size[1] // 8), 3)
    assert np.isnan(matches).all()


def test_equal_input_gives_equal_matches():
    target, reference = warped_pair(3)
    one = sift_matches(sift_features(target), sift_features(reference))
    two = sift_matches(sift_features(target), sift_features(reference))
    np.testing.assert_array_equal(one, two)
