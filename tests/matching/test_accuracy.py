import json

import numpy as np
import pytest

from rba.matching.accuracy import Accuracy, way_back

NAN = (np.nan, np.nan, np.nan)


def test_counts_of_a_hand_made_grid():
    truth = np.array([[(0.5, 0.5, 1), (0.5, 0.5, 1), (0.5, 0.5, 1), NAN, NAN]])
    # Off by 3 and 6 of 512 pixels; not matched; matched where nothing is seen; neither.
    matches = np.array([[(0.5 + 3 / 512, 0.5, 1), (0.5, 0.5 - 6 / 512, 1), NAN, (0, 0, 1), NAN]])
    found = Accuracy.of(matches, truth, (512, 512))
    assert found == Accuracy(1, visible=3, covered=2, claimed=3, correct=(1, 2, 2))
    assert found.coverage == pytest.approx(2 / 3)
    assert found.pck == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    both = found + found
    assert (both.pairs, both.claimed, both.correct) == (2, 6, (2, 4, 4))
    assert both.summary()["pck@8"] == pytest.approx(0.6667)


def test_pixels_are_those_of_a_reference_of_512():
    truth, matches = np.full((1, 1, 3), 0.5), np.full((1, 1, 3), 0.5)
    matches[..., 0] += 10 / 1024  # 5 px of 512 if the width is the longer side, 2.5 if it is half
    assert Accuracy.of(matches, truth, (512, 1024)).correct == (0, 1, 1)
    assert Accuracy.of(matches, truth, (1024, 512)).correct == (1, 1, 1)


def test_nothing_gives_no_figures():
    nothing = np.full((2, 2, 3), np.nan)
    summary = Accuracy.of(nothing, nothing, (8, 8)).summary()
    assert summary["coverage"] is None
    assert summary["pck@4"] is None
    json.dumps(summary, allow_nan=False)


def test_there_and_back():
    forward = np.array([[(0.25, 0.75, 1), NAN, (0.75, 0.25, 1)]])
    back = np.zeros((4, 4, 2))
    back[3, 1], back[1, 3] = (0.1, 0.2), np.nan
    np.testing.assert_array_equal(
        way_back(forward, back), [[(0.1, 0.2), (np.nan, np.nan), (np.nan, np.nan)]]
    )
