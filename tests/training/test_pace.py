"""Seconds a step and time left, by a clock that the test sets."""

import pytest

from rba.training.pace import Pace, clock


def test_the_first_step_is_left_out_and_validations_are_added_at_their_mean() -> None:
    pace = Pace()
    assert pace.remaining(100, None) is None
    pace.mark(41, 60.0)  # a minute of compiling
    assert pace.remaining(100, None) is None
    pace.mark(42, 62.0)
    assert pace.remaining(100, None) == pytest.approx(58 * 2.0)
    for seconds in (10.0, 20.0):  # at 50 and at 60
        step, now = pace._marks[-1][0], pace._marks[-1][1] + pace._paused
        for _ in range(8 if seconds == 10.0 else 10):
            step, now = step + 1, now + 2.0
            pace.mark(step, now)
        pace.pause(now)
        assert pace.go_on(now + seconds) == seconds
    assert pace.seconds_per_step == pytest.approx(2.0)
    assert pace.remaining(100, 10) == pytest.approx(40 * 2.0 + 4 * 15.0)
    assert pace.remaining(100, None) == pytest.approx(40 * 2.0)


def test_a_change_of_speed_is_seen_and_one_slow_step_hardly() -> None:
    pace, now = Pace(num_steps=100), 0.0
    for step in range(1, 301):
        now += 1.0 if step <= 150 else 3.0
        pace.mark(step, now)
    assert pace.seconds_per_step == pytest.approx(3.0)
    pace.mark(301, now + 13.0)  # a save of 10 s
    assert pace.seconds_per_step == pytest.approx(3.1)


def test_several_steps_between_two_marks_count_as_such() -> None:
    pace = Pace()
    pace.mark(10, 5.0)
    pace.mark(20, 15.0)
    assert pace.seconds_per_step == 1.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "?"), (0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (183_845, "2d 03:04:05")],
)
def test_the_clock_is_read_at_a_glance(seconds: float | None, words: str) -> None:
    assert clock(seconds) == words
