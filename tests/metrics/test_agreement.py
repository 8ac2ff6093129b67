"""Krippendorff's alpha, against a published example and its definition by pairs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.metrics.agreement import nominal_alpha

# Krippendorff 2011, section D: four observers, twelve units, missing values; nominal alpha 0.743.
_EXAMPLE = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def test_the_published_example() -> None:
    units = [[value for value in unit if value is not None] for unit in zip(*_EXAMPLE, strict=True)]
    assert nominal_alpha(units) == pytest.approx(0.743, abs=5e-4)


def by_pairs(units: list[list[str]]) -> float | None:
    """1 - mean disagreement within units over that among all values, by counting pairs."""
    used = [unit for unit in units if len(unit) > 1]
    values = [value for unit in used for value in unit]
    among = [a != b for a, b in itertools.permutations(values, 2)]
    if not any(among):
        return None
    within = sum(
        sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in used
    )
    return 1 - (within / len(values)) / (sum(among) / len(among))


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=8))
def test_alpha_by_counting_pairs(units: list[list[str]]) -> None:
    expected = by_pairs(units)
    if expected is None:
        assert nominal_alpha(units) is None
    else:
        assert nominal_alpha(units) == pytest.approx(expected, abs=1e-12)


def test_extremes() -> None:
    assert nominal_alpha([["a", "a"], ["b", "b", "b"]]) == 1.0
    assert nominal_alpha([["a", "b"], ["b", "a"]]) == pytest.approx(-0.5)
    assert nominal_alpha([]) is None
    assert nominal_alpha([["a"], ["b"]]) is None
