import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.data.order import SampleOrder
from rba.errors import InputError

sizes_strategy = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)


def pairs(order, start, stop):
    return [(place.shard, place.index) for place in order.places(start, stop)]


@settings(max_examples=60, deadline=None)
@given(sizes_strategy, st.integers(0, 2**40), st.integers(1, 12), st.integers(0, 5))
def test_every_epoch_has_every_sample_once(sizes, seed, window, epoch):
    order = SampleOrder(seed, "alignment", sizes, window)
    total = sum(sizes)
    places = order.places(epoch * total, (epoch + 1) * total)
    assert {place.epoch for place in places} == {epoch}
    everything = [(shard, index) for shard, size in enumerate(sizes) for index in range(size)]
    assert sorted((place.shard, place.index) for place in places) == everything


@settings(max_examples=40, deadline=None)
@given(sizes_strategy, st.integers(0, 99), st.integers(1, 4))
def test_few_shards_are_open_at_a_time(sizes, seed, window):
    order = SampleOrder(seed, "alignment", sizes, window)
    seen = [shard for shard, _ in pairs(order, 0, sum(sizes))]
    # Each shard's samples lie within one window: between its first and its last one, at most
    # `window` shards are read.
    for shard in set(seen):
        first, last = seen.index(shard), len(seen) - seen[::-1].index(shard)
        assert len(set(seen[first:last])) <= window


@settings(max_examples=40, deadline=None)
@given(sizes_strategy, st.integers(0, 99), st.integers(0, 500), st.integers(1, 40))
def test_any_start_gives_the_same_samples(sizes, seed, start, count):
    whole = pairs(SampleOrder(seed, "refinement", sizes, 2), 0, start + count)
    fresh = SampleOrder(seed, "refinement", sizes, 2)
    assert pairs(fresh, start, start + count) == whole[start:]


def test_seed_mode_and_epoch_change_the_order():
    sizes = [10, 10, 10]
    base = pairs(SampleOrder(0, "alignment", sizes), 0, 30)
    assert base != pairs(SampleOrder(1, "alignment", sizes), 0, 30)
    assert base != pairs(SampleOrder(0, "refinement", sizes), 0, 30)
    assert base != pairs(SampleOrder(0, "alignment", sizes), 30, 60)
    assert base != sorted(base)


def test_the_order_is_pinned():
    # A changed order would silently break the resume of every run in progress.
    order = SampleOrder(0, "alignment", [3, 2, 4], 2)
    pinned = [(0, 2), (2, 2), (0, 0), (2, 3), (2, 0), (2, 1), (0, 1), (1, 1), (1, 0)]
    assert pairs(order, 0, 9) == pinned


def test_positions_are_uniform_within_a_window():
    # Each sample comes first about equally often: 400 seeds, 4 samples, 5 sigma.
    firsts = [pairs(SampleOrder(seed, "alignment", [2, 2]), 0, 1)[0] for seed in range(400)]
    counts = [firsts.count((shard, index)) for shard in range(2) for index in range(2)]
    assert np.abs(np.array(counts) - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_a_late_start_costs_no_more():
    order = SampleOrder(0, "alignment", [1000] * 10_000, 8)  # ten million samples
    started = time.perf_counter()
    order.places(192_000_000, 192_000_192)
    assert time.perf_counter() - started < 2.0


def test_bad_settings():
    with pytest.raises(InputError, match="no sample"):
        SampleOrder(0, "alignment", [0, 0])
    with pytest.raises(InputError, match="shuffle_window=0"):
        SampleOrder(0, "alignment", [1], 0)
