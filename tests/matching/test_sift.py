import pickle

import numpy as np
import pytest

from rba.matching.consistency import NOT_RIGID
from rba.matching.features import sift_features
from rba.matching.sift import SiftMatcher, SiftSettings, grow_matches
from rba.matching.tentative import guided_pairs, mutual_pairs

match = SiftMatcher()


def test_a_known_homography_is_found(made):
    target, reference = made.pair(0)
    matches, fault = match(target, None, reference, None)
    assert fault is None
    assert matches.shape == (32, 38, 3)
    assert matches.dtype == np.float16
    matches = matches.astype(float)
    expected = made.true_nodes(made.homography, 256, 300)
    seen = ((expected >= 0) & (expected < (310, 270))).all(axis=2)
    known = np.isfinite(matches[..., 0])
    assert known[seen].mean() > 0.7
    assert not known[~seen].all()
    error = np.linalg.norm(matches[..., :2] * (310, 270) - expected, axis=2)[known & seen]
    assert np.median(error) < 0.5
    assert (error < 4).mean() > 0.98
    confidence = matches[..., 2][known]
    assert 0 < confidence.min() <= confidence.max() <= 1


def test_large_views_are_matched_small_and_stored_at_their_size(made):
    target, reference = made.pair(1)
    settings = SiftSettings(side=160)
    matches, _ = SiftMatcher(settings)(target, None, reference, None)
    assert matches.shape == (32, 38, 3)
    known = np.isfinite(matches[..., 0])
    error = matches[..., :2] * (310, 270) - made.true_nodes(made.homography, 256, 300)
    assert known.mean() > 0.3
    assert np.median(np.linalg.norm(error, axis=2)[known]) < 1.0


def test_different_pictures_hardly_match(made):
    first, second = made.textured(256, 256, 0), made.textured(256, 256, 1)
    matches, _ = match(first, None, second, None)
    assert np.isfinite(matches[..., 0]).mean() < 0.02


def test_only_objects_are_matched(made):
    target, reference = made.pair(2)
    mask = np.zeros((256, 300), bool)
    mask[80:180, 90:200] = True
    other = np.zeros((270, 310), bool)
    other[:, :200] = True
    matches, _ = match(target, mask, reference, other)
    known = np.isfinite(matches[..., 0])
    assert known.sum() > 20
    rows, columns = np.nonzero(known)
    assert mask[rows * 8 + 4, columns * 8 + 4].all()
    assert (matches[known][:, 0] * 310 < 200.5).all()
    nowhere, _ = match(target, np.zeros((256, 300), bool), reference, other)
    assert np.isnan(nowhere).all()


@pytest.mark.parametrize("size", [(256, 300), (40, 9), (1, 1)])
def test_flat_pictures_have_no_matches(size):
    flat = np.full((*size, 3), 90, np.uint8)
    matches, fault = match(flat, None, flat, None)
    assert fault is None
    assert matches.shape == (-(-size[0] // 8), -(-size[1] // 8), 3)
    assert np.isnan(matches).all()


def test_equal_input_gives_equal_matches_in_any_process(made):
    target, reference = made.pair(3)
    one, _ = match(target, None, reference, None)
    two, _ = pickle.loads(pickle.dumps(match))(target, None, reference, None)
    np.testing.assert_array_equal(one, two)


def test_a_face_that_turns_far_away_is_found_by_tilted_copies(made):
    target = made.textured(300, 300, 4)
    narrow = np.array([[0.3, 0.0, 60.0], [0.03, 0.95, 5.0], [0.0, 0.0, 1.0]])  # 72 degrees
    reference = made.warped(target, narrow, 300, 220)
    shares = []
    for tilted in (False, True):
        matches, _ = SiftMatcher(SiftSettings(tilted=tilted))(target, None, reference, None)
        error = matches[..., :2] * (220, 300) - made.true_nodes(narrow, 300, 300)
        shares.append((np.linalg.norm(error, axis=2) < 6).mean())
    assert shares[1] > shares[0] + 0.2


def test_two_movements_are_no_rigid_one(made):
    parts = [made.textured(150, 320, seed) for seed in (5, 6)]
    target = np.concatenate(parts)
    # Two planes that slide past each other and turn: no camera sees that of one rigid object.
    turned = [
        made.warped(part, np.array([[c, -s, 30.0], [s, c, y], [0, 0, 1.0]]), 150, 320)
        for part, c, s, y in zip(parts, (0.8, 1.1), (0.5, -0.6), (-60.0, 60.0), strict=True)
    ]
    reference = np.concatenate(turned[::-1])
    matches, fault = SiftMatcher(SiftSettings(epipolar=0.0))(target, None, reference, None)
    assert fault is None
    upper, lower = (
        np.isfinite(matches[..., 0])[:18].mean(),
        np.isfinite(matches[..., 0])[20:].mean(),
    )
    assert min(upper, lower) > 0.2
    strict = SiftSettings(epipolar=2.0, least_rigid=0.95)
    _, fault = SiftMatcher(strict)(target, None, reference, None)
    assert fault == NOT_RIGID


def test_pairs_of_key_points_do_not_depend_on_which_view_comes_first(made):
    first, second = (sift_features(view) for view in made.pair(7))
    forth, back = mutual_pairs(first, second, 0.85), mutual_pairs(second, first, 0.85)
    assert len(forth) > 100
    assert set(map(tuple, forth)) == set(map(tuple, back[:, ::-1]))


def test_products_of_descriptors_are_exact_in_any_order(made):
    features = sift_features(made.textured(120, 160, 9))
    first, second = features.descriptors[:200], features.descriptors[200:400]
    exact = first.astype(np.float64) @ second.T.astype(np.float64)
    np.testing.assert_array_equal(first @ second.T, exact)
    backwards = first[:, ::-1].copy() @ second[:, ::-1].T.copy()
    np.testing.assert_array_equal(backwards, exact)
    assert np.abs(np.linalg.norm(features.descriptors, axis=1) - 1).max() < 0.01


def test_guided_pairs_lie_where_the_maps_predict(made):
    first, second = (sift_features(view) for view in made.pair(8))
    settings = SiftSettings(rounds=0)
    maps, _ = grow_matches(first, second, mutual_pairs(first, second, 0.85), settings)
    pairs = guided_pairs(first, second, maps, reach=48.0, similarity=0.7)
    assert len(pairs) > len(maps)
    shift = second.points[pairs[:, 1]] - _project(made.homography, first.points[pairs[:, 0]])
    assert (np.linalg.norm(shift, axis=1) < 6).mean() > 0.95


def _project(homography, points):
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    return homogeneous[:, :2] / homogeneous[:, 2:]
