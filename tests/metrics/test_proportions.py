"""Shares of choices, against SciPy and the definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from rba.metrics.proportions import even_odds_p, holm, wilson_interval


@given(data=st.data(), trials=st.integers(1, 400))
def test_wilson_is_scipys(data: st.DataObject, trials: int) -> None:
    successes = data.draw(st.integers(0, trials))
    own = wilson_interval(successes, trials)
    theirs = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert own.value == successes / trials
    assert own.low == pytest.approx(theirs.low, abs=1e-12)
    assert own.high == pytest.approx(theirs.high, abs=1e-12)
    assert own.low <= own.value <= own.high


def test_wilson_of_nothing() -> None:
    interval = wilson_interval(0, 0)
    assert all(map(math.isnan, (interval.value, interval.low, interval.high)))


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_even_odds_by_counting(first: int, second: int) -> None:
    trials = first + second
    chances = binom.pmf(np.arange(trials + 1), trials, 0.5)
    expected = chances[chances <= chances[first] * (1 + 1e-7)].sum()
    assert even_odds_p(first, second) == pytest.approx(min(1.0, expected), rel=1e-9)
    assert even_odds_p(first, second) == even_odds_p(second, first)


def test_holm_on_a_known_family() -> None:
    corrected = holm([0.01, 0.04, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float], level: float) -> None:
    """The step-down procedure in its own words: stop at the first that is not small enough."""
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected
