"""The stream's promises over seeds, sizes, sets, ranks, workers, parts: orders without pixels."""

import collections
import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import rba.data.order as order_module
from rba.batch import Example, Mode
from rba.data.alternation import ModePattern
from rba.data.mixed_stream import MixedStream
from rba.data.mixture import Mixture
from rba.data.order import SampleOrder
from rba.data.stream import AlternatingStream, BatchSplit

_BLANK = np.zeros((8, 8, 3), np.uint8)
_FULL = np.ones((8, 8), bool)


class OrderStream:
    """As `ModeStream`, of a set whose samples are their numbers."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def example(self, position, draw=None):
        place = self.order.place(position)
        return Example(
            image=_BLANK, artifact_mask=_FULL, reference=_BLANK, reference_mask=_FULL,
            correspondence_mask=_FULL.astype(np.float32), correspondence_known=True,
            draw=position if draw is None else draw,
            sample_id=f"{self.name}/{place.shard}/{place.index}",
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run: its sets of the alignment mode (sizes of shards, weight), and how it is divided."""

    seed: int
    sets: tuple
    pattern: ModePattern
    global_batch: int
    parts: int
    window: int

    def stream(self, world_size=1, rank=0, per_device_batch=None):
        split = BatchSplit(
            global_batch=self.global_batch,
            per_device_batch=per_device_batch or self.global_batch // world_size,
            world_size=world_size, rank=rank, parts=self.parts,
        )  # fmt: skip
        one = [OrderStream(str(n), self.order(sizes, n)) for n, (sizes, _) in enumerate(self.sets)]
        mixture = Mixture([weight for _, weight in self.sets])
        streams = {
            Mode.ALIGNMENT: MixedStream(one, mixture) if len(one) > 1 else one[0],
            Mode.REFINEMENT: OrderStream("r", self.order((3, 4), "r")),
        }
        return AlternatingStream(streams, self.pattern, split)

    def order(self, sizes, name):
        return SampleOrder(self.seed, str(name), sizes, self.window, self.parts)

    def batch(self, step, world_size=1, per_device_batch=None):
        """What all ranks see in a step: draw -> (mode, sample)."""
        seen = {}
        for rank in range(world_size):
            stream = self.stream(world_size, rank, per_device_batch)
            for micro in range(stream.split.accumulation):
                batch = stream[step * stream.split.accumulation + micro]
                for draw, sample_id in zip(batch.draws.tolist(), batch.sample_ids, strict=True):
                    assert draw not in seen
                    seen[draw] = (batch.mode, sample_id)
        return seen


sizes_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any).map(tuple)
setups = st.builds(
    Setup,
    seed=st.integers(0, 2**32 - 1),
    sets=st.lists(
        st.tuples(sizes_strategy, st.integers(1, 4)), min_size=1, max_size=3
    ).map(tuple),
    pattern=st.builds(
        ModePattern, alignment=st.integers(1, 3), refinement=st.integers(0, 2),
        alignment_only_steps=st.integers(0, 3),
    ),
    global_batch=st.sampled_from([4, 8, 12]),
    parts=st.sampled_from([1, 2, 4]),
    window=st.integers(1, 4),
)  # fmt: skip


@given(setups, st.integers(0, 10**6), st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1), (1, 2)]))
def test_any_division_gives_the_same_global_batch(setup, step, division):
    world_size, per_device_batch = division
    whole = setup.batch(step)
    assert setup.batch(step, world_size, per_device_batch) == whole
    first = setup.pattern.mode_step(step) * setup.global_batch
    assert sorted(whole) == list(range(first, first + setup.global_batch))
    assert {mode for mode, _ in whole.values()} == {setup.pattern.mode(step)}


@given(setups)
def test_a_sets_samples_come_once_an_epoch_and_nothing_is_dropped_or_padded(setup):
    setup = dataclasses.replace(setup, pattern=ModePattern(refinement=0))
    taken = collections.defaultdict(list)
    for step in range(12):
        for _, (_, sample_id) in sorted(setup.batch(step).items()):
            taken[sample_id.split("/")[0]].append(sample_id)
    assert sum(map(len, taken.values())) == 12 * setup.global_batch
    for number, (sizes, _) in enumerate(setup.sets):
        seen, total = collections.Counter(taken[str(number)]), sum(sizes)
        everything = {f"{number}/{s}/{i}" for s, size in enumerate(sizes) for i in range(size)}
        epochs, rest = divmod(seen.total(), total)
        assert all(seen[sample] in (epochs, epochs + 1) for sample in everything)
        assert sum(seen[sample] == epochs + 1 for sample in everything) == rest


@given(setups, st.integers(0, 20), st.integers(1, 4))
def test_a_resumed_stream_is_the_tail(setup, start, count):
    stream, fresh = setup.stream(), setup.stream()
    whole = [stream[step].sample_ids for step in range(start + count)]
    assert [fresh[step].sample_ids for step in range(start, start + count)] == whole[start:]


@given(setups, st.integers(1, 4), st.integers(0, 40), st.integers(0, 3))
def test_workers_that_deal_the_steps_out_make_the_same_batches(setup, workers, start, worker):
    # A loader gives worker w every `workers`-th item; what it saw before must not matter.
    stream = setup.stream(2, 1, setup.global_batch // 4)
    dealt = range(start + worker, start + 8, workers)
    for item in dealt:
        alone = setup.stream(2, 1, setup.global_batch // 4)[item]
        assert stream[item].sample_ids == alone.sample_ids


@given(setups, st.integers(0, 50), st.sampled_from([2, 4]))
def test_the_mode_is_constant_inside_an_accumulation_window(setup, step, accumulation):
    stream = setup.stream(1, 0, setup.global_batch // accumulation)
    modes = {stream[step * accumulation + micro].mode for micro in range(accumulation)}
    assert modes == {setup.pattern.mode(step)}


@given(setups, st.integers(0, 3))
def test_a_node_reads_its_own_part_of_an_epoch_only(setup, epoch):
    sizes = (6, 5, 7, 6, 4, 8, 6, 6)  # 48: epochs of 4, 6 or 12 batches
    alone = dataclasses.replace(
        setup, sets=((sizes, 1),), parts=4, pattern=ModePattern(refinement=0)
    )
    ranks, steps = 8, 48 // setup.global_batch  # 2 ranks a node where the batch allows it
    ranks = ranks if setup.global_batch % ranks == 0 else 4
    shards = [set() for _ in range(4)]
    for rank in range(ranks):
        stream = alone.stream(ranks, rank)
        for step in range(epoch * steps, (epoch + 1) * steps):
            read = {sample_id.split("/")[1] for sample_id in stream[step].sample_ids}
            shards[rank * 4 // ranks] |= read
    assert sum(map(len, shards)) <= len(sizes) + 3


@given(setups)
def test_a_start_at_a_million_draws_no_more_than_one_at_zero(setup):
    drawn = []
    real = order_module.keyed_generator

    def counting(*key):
        drawn.append(key)
        return real(*key)

    order_module.keyed_generator = counting
    try:
        costs = []
        for step in (0, 10**6):
            drawn.clear()
            setup.batch(step)
            costs.append(len(drawn))
    finally:
        order_module.keyed_generator = real
    # At most an epoch's and a window's permutation for each sample of the batch.
    assert max(costs) <= 2 * setup.global_batch
