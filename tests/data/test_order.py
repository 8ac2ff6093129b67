import json
import pickle
import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rba.data.order as order_module
from rba.data.order import SampleOrder
from rba.data.shards import parse_manifest
from rba.data.writer import ShardEntry
from rba.errors import InputError

sizes_strategy = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)
seeds = st.integers(0, 2**32 - 1)
windows = st.integers(1, 12)
parts_strategy = st.integers(1, 6)


def pairs(order, start, stop):
    return [(place.shard, place.index) for place in order.places(start, stop)]


@settings(max_examples=100)
@given(sizes_strategy, seeds, windows, parts_strategy, st.integers(0, 10**10))
def test_every_epoch_has_every_sample_once(sizes, seed, window, parts, epoch):
    order = SampleOrder(seed, "alignment", sizes, window, parts)
    total = sum(sizes)
    places = order.places(epoch * total, (epoch + 1) * total)
    assert {place.epoch for place in places} == {epoch}
    everything = [(shard, index) for shard, size in enumerate(sizes) for index in range(size)]
    assert sorted((place.shard, place.index) for place in places) == everything


@settings(max_examples=60)
@given(sizes_strategy, st.integers(0, 99), st.integers(1, 4), parts_strategy, st.integers(0, 9))
def test_few_shards_are_open_at_a_time(sizes, seed, window, parts, epoch):
    order, total = SampleOrder(seed, "alignment", sizes, window, parts), sum(sizes)
    places = order.places(epoch * total, (epoch + 1) * total)
    for lane in range(parts):
        seen = [
            place.shard for position, place in enumerate(places, epoch * total)
            if position % parts == lane
        ]  # fmt: skip
        # Each shard's samples lie within one window of a part: between its first and its last
        # one, at most `window` shards are read.
        for shard in set(seen):
            first, last = seen.index(shard), len(seen) - seen[::-1].index(shard)
            assert len(set(seen[first:last])) <= window


@settings(max_examples=60)
@given(sizes_strategy, seeds, windows, parts_strategy, st.integers(0, 9))
def test_parts_are_equal_and_share_no_shard_but_at_their_borders(sizes, seed, window, parts, epoch):
    order, total = SampleOrder(seed, "alignment", sizes, window, parts), sum(sizes)
    shards, counts = [set() for _ in range(parts)], [0] * parts
    for position in range(epoch * total, (epoch + 1) * total):
        shards[position % parts].add(order.place(position).shard)
        counts[position % parts] += 1
    assert max(counts) - min(counts) <= 1
    used = sum(size > 0 for size in sizes)
    assert sum(map(len, shards)) <= used + parts - 1


@settings(max_examples=40)
@given(sizes_strategy, st.integers(0, 99), parts_strategy, st.integers(0, 500), st.integers(1, 40))
def test_any_start_gives_the_same_samples(sizes, seed, parts, start, count):
    order = SampleOrder(seed, "refinement", sizes, 2, parts)
    whole = pairs(order, 0, start + count)
    fresh = pickle.loads(pickle.dumps(order))
    assert pairs(fresh, start, start + count) == whole[start:]


def test_seed_mode_and_epoch_change_the_order():
    sizes = [10, 10, 10]
    base = pairs(SampleOrder(0, "alignment", sizes), 0, 30)
    assert base != pairs(SampleOrder(1, "alignment", sizes), 0, 30)
    assert base != pairs(SampleOrder(0, "refinement", sizes), 0, 30)
    assert base != pairs(SampleOrder(0, "alignment", sizes), 30, 60)
    assert base != sorted(base)


@settings(max_examples=40)
@given(seeds, st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_no_two_epochs_in_a_row_have_the_same_order(seed, epoch, parts):
    order = SampleOrder(seed, "alignment", [20] * 6, 2, parts)
    assert pairs(order, epoch * 120, epoch * 120 + 120) != pairs(
        order, epoch * 120 + 120, epoch * 120 + 240
    )


def test_the_shards_of_a_window_change_with_the_epoch():
    order = SampleOrder(0, "alignment", [2] * 8, 2)
    first_windows = {
        frozenset(place.shard for place in order.places(epoch * 16, epoch * 16 + 4))
        for epoch in range(40)
    }
    assert {len(window) for window in first_windows} == {2}
    assert len(first_windows) > 14  # of 28


def test_no_window_is_a_remainder():
    # 9 shards in windows of 8 would leave one shard's samples among themselves.
    order = SampleOrder(0, "alignment", [4] * 9, 8)
    shards = [shard for shard, _ in pairs(order, 0, 36)]
    assert (len(set(shards[:20])), len(set(shards[20:]))) == (5, 4)


def test_the_order_is_pinned():
    # A changed order would silently break the resume of every run in progress.
    order = SampleOrder(0, "alignment", [3, 2, 4], 2)
    pinned = [(0, 2), (2, 2), (0, 0), (2, 3), (2, 0), (2, 1), (0, 1), (1, 1), (1, 0)]
    assert pairs(order, 0, 9) == pinned
    parted = SampleOrder(0, "alignment", [3, 2, 4], 2, parts=2)
    pinned = [(0, 1), (2, 3), (2, 1), (1, 1), (0, 0), (2, 2), (2, 0), (1, 0), (0, 2)]
    assert pairs(parted, 0, 9) == pinned


def test_positions_are_uniform_within_a_window():
    # Each sample comes first about equally often: 400 seeds, 4 samples, 5 sigma.
    firsts = [pairs(SampleOrder(seed, "alignment", [2, 2]), 0, 1)[0] for seed in range(400)]
    counts = [firsts.count((shard, index)) for shard in range(2) for index in range(2)]
    assert np.abs(np.array(counts) - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.fixture
def permuted(monkeypatch):
    """The lengths of all permutations that orders draw."""
    lengths = []
    real = order_module.keyed_generator

    class Counting:
        def __init__(self, *key):
            self.generator = real(*key)

        def permutation(self, length):
            lengths.append(length)
            return self.generator.permutation(length)

    monkeypatch.setattr(order_module, "keyed_generator", Counting)
    return lengths


@pytest.mark.parametrize("num_shards", [1, 1000, 100_000])
@pytest.mark.parametrize("start", [0, 192 * 10**6, 10**12])
def test_a_late_start_permutes_no_more_than_an_early_one(permuted, num_shards, start):
    order = SampleOrder(0, "alignment", [1000] * num_shards, 8)
    order.places(start, start + 192)
    # An epoch's shards, and the samples of the one or two windows that a batch lies in.
    assert sum(permuted) <= 2 * (num_shards + 8 * 1000)
    assert len(permuted) <= 4


def test_going_through_windows_and_epochs_makes_each_once(permuted):
    order = SampleOrder(0, "alignment", [10] * 6, 2, parts=2)
    order.places(0, 4 * 60)
    # 4 epochs' shards; 2 parts of 3 shards = 2 windows each, a window's samples once.
    assert sorted(permuted) == sorted([6] * 4 + [10, 20] * 8)


def test_a_hundred_million_samples_take_two_seconds_and_two_gibibytes():
    line = {"samples": 1000, "bytes": 10**8, "sha256": "0" * 64, "index_sha256": "0" * 64}
    shards = [{"name": f"photos-{number:06d}.tar", **line} for number in range(100_000)]
    manifest = json.dumps({"schema_version": 1, "kind": "alignment", "shards": shards}).encode()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()  # other work on the machine does not count
    entries = [ShardEntry(**entry) for entry in parse_manifest(manifest, "made up")["shards"]]
    order = SampleOrder(0, "alignment", [entry.samples for entry in entries])
    order.places(10**12, 10**12 + 192)
    assert time.process_time() - started < 2.0
    assert order.num_samples == 10**8
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown * 1024 < 2 * 2**30


def test_bad_settings():
    with pytest.raises(InputError, match="no sample"):
        SampleOrder(0, "alignment", [0, 0])
    with pytest.raises(InputError, match="shuffle_window=0"):
        SampleOrder(0, "alignment", [1], 0)
    with pytest.raises(InputError, match="node_parts=0"):
        SampleOrder(0, "alignment", [1], 1, 0)
