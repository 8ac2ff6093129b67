"""Keyed random numbers: equal keys equal streams, other keys other streams, on every platform."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rba.batch import Mode
from rba.draws import keyed_generator

# the same examples on every machine, however slow it is
stable = settings(derandomize=True, deadline=None)

keys = st.tuples(
    st.integers(0, 2**63),
    st.sampled_from(["noise", "timestep", "drop", "mask"]),
    st.sampled_from(list(Mode)),
    st.integers(0, 10**15),
)


def stream(key: tuple[int, str, str, int]) -> list[int]:
    return keyed_generator(*key).integers(0, 2**63, 4).tolist()


@stable
@given(keys)
def test_equal_keys_give_equal_streams_whatever_was_drawn_between(
    key: tuple[int, str, str, int],
) -> None:
    first = stream(key)
    keyed_generator(0, "other", "alignment", 1).standard_normal(7)
    np.random.default_rng(0).random(3)
    assert stream(key) == first


@stable
@given(keys, keys)
def test_different_keys_give_different_streams(
    key: tuple[int, str, str, int], other: tuple[int, str, str, int]
) -> None:
    assume(key != other)
    assert stream(key) != stream(other)


def test_each_part_of_the_key_counts() -> None:
    base = (0, "noise", Mode.ALIGNMENT, 5)
    others = [
        (1, "noise", Mode.ALIGNMENT, 5),
        (0, "mask", Mode.ALIGNMENT, 5),
        (0, "noise", Mode.REFINEMENT, 5),
        (0, "noise", Mode.ALIGNMENT, 6),
    ]
    streams = [stream(key) for key in (base, *others)]
    assert len({tuple(numbers) for numbers in streams}) == len(streams)


def test_draws_can_be_taken_in_any_order() -> None:
    forward = [stream((3, "noise", Mode.ALIGNMENT, draw)) for draw in range(20)]
    backward = [stream((3, "noise", Mode.ALIGNMENT, draw)) for draw in reversed(range(20))]
    assert forward == backward[::-1]


def test_a_mode_is_its_string() -> None:
    assert stream((0, "noise", Mode.ALIGNMENT, 1)) == stream((0, "noise", "alignment", 1))


def test_neighbouring_draws_are_not_correlated() -> None:
    values = np.array(
        [keyed_generator(0, "noise", "alignment", draw).standard_normal(64) for draw in range(64)]
    )
    correlation = np.corrcoef(values) - np.eye(64)
    # 64 numbers each: a standard deviation of 1/8; the largest of 2,016 pairs stays below 5 of them
    assert np.abs(correlation).max() < 5 / 8
    assert abs(values.mean()) < 5 / 64
    assert abs(values.std() - 1.0) < 5 / 64


@pytest.mark.parametrize(
    ("key", "golden"),
    [
        ((0, "noise", "alignment", 0), [2967903933, 2270654278, 360484970, 3305628769]),
        ((7, "mask", "refinement", 123456789012), [3850833540, 2146845399, 4241338253, 3377636548]),
    ],
)
def test_integers_are_pinned_over_platforms_and_versions(
    key: tuple[int, str, str, int], golden: list[int]
) -> None:
    assert keyed_generator(*key).integers(0, 2**32, 4).tolist() == golden


def test_floats_are_pinned_over_platforms_and_versions() -> None:
    key = (0, "noise", "alignment", 0)
    np.testing.assert_array_equal(
        keyed_generator(*key).random(3),
        [0.5286778972230429, 0.7696516739865606, 0.2590245290352353],
    )
    np.testing.assert_allclose(
        keyed_generator(*key).standard_normal(3),
        [0.45841790121313347, 0.21816877121887085, 0.1640377084282818],
        rtol=1e-12,
    )
