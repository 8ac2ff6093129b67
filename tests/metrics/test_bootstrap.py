"""Intervals against every possible resample of three cases, and against SciPy."""

import itertools
import math
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from rba.metrics.bootstrap import Interval, mean_interval, paired_interval


def test_three_cases_against_every_resample() -> None:
    values = [0.0, 1.0, 5.0]
    means = sorted(np.mean(drawn) for drawn in itertools.product(values, repeat=3))
    found = mean_interval(values)
    assert found.value == 2.0
    # 1 of 27 resamples (3.7 %) holds one case alone: both bounds lie on such a one.
    assert (found.low, found.high) == (means[0], means[-1]) == (0.0, 5.0)
    many = [0.0] * 6 + [1.0]
    bound = stats.binom(7, 1 / 7).ppf(0.975) / 7
    assert mean_interval(many).high == pytest.approx(bound)


@pytest.mark.parametrize("count", [8, 40])
def test_means_agree_with_scipy(count: int) -> None:
    values = np.random.default_rng(count).gamma(2.0, 1.0, count)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = mean_interval(values.tolist(), seed=3)
    width = expected.high - expected.low
    assert found.value == pytest.approx(values.mean())
    assert abs(found.low - expected.low) < 0.03 * width
    assert abs(found.high - expected.high) < 0.03 * width


@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_pairs_agree_with_scipy(kind: Literal["difference", "ratio"]) -> None:
    rng = np.random.default_rng(0)
    shared = rng.random(25)
    first, second = shared + 0.2 + 0.05 * rng.random(25), shared + 0.05 * rng.random(25)

    def statistic(one: np.ndarray, two: np.ndarray, axis: int) -> np.ndarray:
        means = one.mean(axis=axis), two.mean(axis=axis)
        return means[0] - means[1] if kind == "difference" else means[0] / means[1]

    expected = stats.bootstrap(
        (first, second), statistic, paired=True, vectorized=True, n_resamples=20_000,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = paired_interval(first.tolist(), second.tolist(), kind)
    width = expected.high - expected.low
    assert abs(found.low - expected.low) < 0.04 * width
    assert abs(found.high - expected.high) < 0.04 * width
    # Drawn together the large common part cancels; a difference drawn apart would be far wider.
    if kind == "difference":
        assert width < 0.25 * (
            mean_interval(first.tolist()).high - mean_interval(first.tolist()).low
        )


def test_a_seed_gives_one_interval_and_another_gives_another() -> None:
    values = np.random.default_rng(0).random(30).tolist()
    assert mean_interval(values, seed=5) == mean_interval(values, seed=5)
    assert mean_interval(values, seed=5) != mean_interval(values, seed=6)


def test_equal_methods_differ_by_exactly_nothing() -> None:
    values = [0.1, 0.7, 0.4]
    assert paired_interval(values, values, "difference") == Interval(0.0, 0.0, 0.0)
    ratio = paired_interval(values, values, "ratio")
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)


def test_what_is_not_finite_has_no_interval() -> None:
    endless = mean_interval([1.0, math.inf])
    assert endless.value == math.inf
    assert math.isnan(endless.low)
    assert math.isnan(paired_interval([math.inf, 1.0], [math.inf, 1.0], "difference").value)
    assert math.isnan(paired_interval([0.0, 1.0], [0.0, 1.0], "ratio").low)  # a resample is 0 / 0
    assert paired_interval([1.0, 1.0], [0.0, 1.0], "ratio").high == math.inf
    assert math.isnan(mean_interval([]).value)
    assert math.isnan(paired_interval([], [], "ratio").value)
    assert math.isnan(paired_interval([], [], "difference").value)
    assert math.isnan(mean_interval([-math.inf, math.inf]).value)


def test_cases_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 cases"):
        paired_interval([1.0, 2.0], [1.0], "ratio")
