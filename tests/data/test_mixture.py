import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.data.mixture import Mixture
from rba.errors import InputError

weights_strategy = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(weights_strategy, st.integers(0, 150))
def test_closed_form_equals_counting(weights, length):
    mixture = Mixture(weights)
    seen = collections.Counter()
    for position in range(length):
        number, before = mixture.place(position)
        assert before == seen[number]
        seen[number] += 1
    assert mixture.counts(length) == [seen[number] for number in range(len(weights))]


@given(weights_strategy, st.integers(0, 10**15))
def test_the_ratio_is_exact_after_every_round(weights, rounds):
    mixture = Mixture(weights)
    counts = mixture.counts(rounds * sum(mixture.weights))
    assert counts == [rounds * weight for weight in mixture.weights]


@given(weights_strategy, st.integers(0, 10**12))
def test_no_set_runs_ahead_or_falls_behind(weights, length):
    mixture = Mixture(weights)
    for number, count in enumerate(mixture.counts(length)):
        assert abs(count - length * mixture.share(number)) < 2.5  # of 6 sets; 1 of two


@given(weights_strategy, st.integers(0, 10**15))
def test_a_late_position_fits_its_neighbour(weights, position):
    mixture = Mixture(weights)
    number, before = mixture.place(position)
    grown = [b - a for a, b in zip(mixture.counts(position), mixture.counts(position + 1),
                                   strict=True)]  # fmt: skip
    assert grown == [int(other == number) for other in range(len(weights))]
    assert before == mixture.counts(position)[number]


def test_one_to_three_is_spread():
    mixture = Mixture([1, 3])
    assert [mixture.place(position)[0] for position in range(8)] == [0, 1, 1, 1] * 2


def test_decimal_weights_are_exact():
    assert Mixture([0.1, 0.2]).weights == (1, 2)
    assert Mixture([0.25, 1]).weights == (1, 4)
    assert Mixture([30, 60, 90]).weights == (1, 2, 3)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "3", True, None])
def test_weights_that_mean_nothing(weight):
    with pytest.raises(InputError, match="give a number above 0"):
        Mixture([1, weight])
