"""No window of the server's limit ever holds too many requests."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.data.pixabay.limit import Clock, RateLimit, StoppedError, asked_pause


def make_clock():
    class Jumping(Clock):
        time = 1_700_000_000.0

        def elapsed(self):
            return self.time

        def sleep(self, seconds):
            assert seconds > 0
            self.time += seconds

    return Jumping()


@settings(max_examples=40)
@given(
    limit=st.integers(1, 7),
    gaps=st.lists(st.floats(0, 40), min_size=1, max_size=20),
)
def test_any_minute_holds_at_most_the_limit_and_none_is_wasted(limit, gaps):
    clock = make_clock()
    gate = RateLimit(clock, limit, 60.0)
    sent = []
    for gap in gaps:
        clock.time += gap
        before = clock.time
        gate.wait()
        sent.append(clock.time)
        inside = [t for t in sent if t > clock.time - 60.0 + 1e-6]
        assert len(inside) <= limit
        if clock.time > before:  # it waited: so one more would not have fitted earlier
            assert len([t for t in sent[:-1] if t > before - 60.0]) >= limit


def test_a_lower_limit_of_the_server_holds_and_a_higher_one_does_not(clock):
    gate = RateLimit(clock, 10, 60.0)
    gate.heed({"X-RateLimit-Limit": "5000"})
    assert gate.requests == 10
    gate.heed({"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2"})
    for _ in range(4):
        gate.wait()
    assert sum(clock.slept) == pytest.approx(60)


def test_an_empty_window_is_waited_out(clock, capsys):
    gate = RateLimit(clock, 100, 60.0)
    gate.heed({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "17"})
    gate.wait()
    assert sum(clock.slept) == pytest.approx(17)
    assert "wait 17 seconds" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "soon", "-3", "١٢"])
def test_headers_that_say_nothing_change_nothing(clock, text):
    gate = RateLimit(clock, 10, 60.0)
    gate.heed({"X-RateLimit-Limit": text, "X-RateLimit-Remaining": text})
    gate.wait()
    assert gate.requests == 10
    assert clock.slept == []
    assert asked_pause({"Retry-After": "soon", "X-RateLimit-Reset": "9"}) == 9


def test_retry_after_may_be_a_date():
    pause = asked_pause({"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert pause == pytest.approx(30, abs=2)
    assert asked_pause({"Retry-After": "4", "X-RateLimit-Reset": "9"}) == 4
    assert asked_pause({}) is None


def test_files_are_held_back_only_by_a_pause(clock):
    gate = RateLimit(clock, None, 60.0)
    for _ in range(1000):
        gate.wait()
    assert clock.slept == []
    assert gate.seconds_for(1000) == 0
    gate.block(3)
    gate.block(1)  # a shorter one does not cut the longer one
    gate.wait()
    assert sum(clock.slept) == pytest.approx(3)


@pytest.mark.parametrize(
    ("requests", "seconds"), [(0, 0), (1, 0), (100, 0), (101, 60), (700, 360), (701, 420)]
)
def test_how_long_requests_take(clock, requests, seconds):
    assert RateLimit(clock, 100, 60.0).seconds_for(requests) == seconds


def test_a_stopped_clock_wakes_and_refuses():
    clock = Clock()
    clock.stop()
    with pytest.raises(StoppedError):
        clock.sleep(1000)
