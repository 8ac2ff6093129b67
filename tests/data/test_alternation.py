import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.batch import Mode
from rba.data.alternation import ModePattern
from rba.errors import InputError

patterns = st.builds(
    ModePattern,
    alignment=st.integers(0, 9),
    refinement=st.integers(1, 9),
    alignment_only_steps=st.integers(0, 15),
)


@given(patterns, st.integers(0, 120))
def test_closed_form_equals_counting(pattern, step):
    earlier = [pattern.mode(other) for other in range(step)]
    assert pattern.mode_step(step) == earlier.count(pattern.mode(step))


@given(patterns, st.integers(0, 30))
def test_every_cycle_has_the_ratio(pattern, cycle):
    length = pattern.alignment + pattern.refinement
    start = pattern.alignment_only_steps + cycle * length
    modes = [pattern.mode(step) for step in range(start, start + length)]
    assert modes.count(Mode.ALIGNMENT) == pattern.alignment


@given(patterns)
def test_warm_up_comes_first(pattern):
    assert {pattern.mode(s) for s in range(pattern.alignment_only_steps)} <= {Mode.ALIGNMENT}
    used = {pattern.mode(s) for s in range(40)}
    assert used == {mode for mode in Mode if pattern.uses(mode)}


def letters(pattern, count):
    return "".join(pattern.mode(step).value[0].upper() for step in range(count))


def test_patterns_as_the_docstring_has_them():
    assert letters(ModePattern(), 6) == "ARARAR"
    assert letters(ModePattern(alignment=2, refinement=1), 6) == "AARAAR"
    assert letters(ModePattern(alignment=1, refinement=0), 4) == "AAAA"
    assert letters(ModePattern(alignment=0, refinement=1), 4) == "RRRR"
    assert letters(ModePattern(alignment_only_steps=3), 7) == "AAAARAR"
    assert letters(ModePattern(alignment=9, refinement=4), 13).count("RR") == 0  # spread evenly


def test_a_late_step_is_exact():
    pattern = ModePattern(alignment=9, refinement=4)
    step = 13 * 10**15 + 1
    assert pattern.mode_step(step) + 1 in (9 * 10**15 + 2, 4 * 10**15 + 1)


@pytest.mark.parametrize(
    "bad", [{"alignment": 0, "refinement": 0}, {"alignment": -1}, {"refinement": 0.5},
            {"alignment_only_steps": -2}, {"alignment": True}],
)  # fmt: skip
def test_bad_patterns(bad):
    with pytest.raises(InputError, match="alternation"):
        ModePattern(**bad)
