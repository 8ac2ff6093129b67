"""Gamma's arg max, and halves of the cases against each other."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from rba.inference.gamma import Calibration, rank_correlation


def calibration(scores: np.ndarray) -> Calibration:
    return Calibration(scores=scores, steps=(4, 7), num_inference_steps=10)


def test_best_is_the_first_largest_cell() -> None:
    scores = np.zeros((1, 2, 2, 3))
    scores[0, 0, 1, 2] = scores[0, 0, 0, 1] = 0.5
    found = calibration(scores)
    assert found.best == (4, 1)
    assert found.at((7, 2)) == 0.5
    assert found.halves() is None
    assert found.to_dict()["halves"] is None


def test_means_run_over_cases_and_boxes_are_apart() -> None:
    scores = np.random.default_rng(0).random((5, 2, 2, 3))
    found = calibration(scores)
    assert found.num_cases == 5
    np.testing.assert_allclose(found.gamma, scores[:, 0].mean(axis=0))
    np.testing.assert_allclose(found.gamma_box, scores[:, 1].mean(axis=0))


def test_halves_are_disjoint_and_scored_on_each_other() -> None:
    scores = np.zeros((5, 2, 2, 3))
    scores[0::2, 0, 0, 1] = 0.9  # what the even cases would choose
    scores[1::2, 0, 1, 2] = 0.6
    scores[1::2, 0, 0, 1] = 0.2
    found = calibration(scores)
    assert found.num_cases == 5
    halves = json.loads(json.dumps(found.to_dict()))["halves"]
    assert (halves["even"]["num_cases"], halves["odd"]["num_cases"]) == (3, 2)
    even, odd = halves["even"], halves["odd"]
    assert (even["sampler_step_index"], even["layer"]) == (4, 1)
    assert (odd["sampler_step_index"], odd["layer"]) == (7, 2)
    assert even["miou"] == pytest.approx(0.9)
    assert even["miou_elsewhere"] == pytest.approx(0.2)
    assert odd["miou_elsewhere"] == 0.0
    assert not halves["same_cell"]


def test_rank_correlation_equals_scipys() -> None:
    rng = np.random.default_rng(1)
    first, second = np.round(rng.random((2, 4, 5)), 1)  # with ties
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(first, first) == pytest.approx(1.0)
    assert np.isnan(rank_correlation(first, np.ones((4, 5))))


def test_halves_of_equal_scores_have_no_rank_correlation() -> None:
    halves = calibration(np.full((4, 2, 2, 3), 0.25)).to_dict()["halves"]
    assert isinstance(halves, dict)
    assert halves["rank_correlation"] is None
    assert halves["same_cell"]
