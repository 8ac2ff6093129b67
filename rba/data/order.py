"""The order of samples as a pure function: position in a shard set's infinite stream -> sample.

Positions ``e * n`` to ``(e + 1) * n`` of a set of n samples are its epoch e: a permutation of the
shards, cut into windows of at most W shards, the samples of each window shuffled together. With P
parts the permuted shards are first cut into P runs of equally many samples; part j holds the
positions p with ``p % P == j``. Only the window that a position falls into is ever made, so a start
at step 1,000,000 costs what a start at step 0 costs, and few shards are open at any time.
"""

import bisect
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError

DEFAULT_WINDOW = 8  # shards
_KEPT_EPOCHS = 3  # a batch may run over an epoch's end, and replacements of bad samples run ahead


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a position of the stream lies: epoch, number of the shard, number within the shard."""

    epoch: int
    shard: int
    index: int


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part's run of an epoch, cut into windows."""

    first: int  # its positions before the epoch
    shards: np.ndarray  # in the epoch's order; the run's first and last may be cut
    lows: np.ndarray  # the first sample of each shard that is the part's
    counts: np.ndarray  # samples of each shard that are the part's
    cuts: np.ndarray  # [windows + 1]: numbers of shards
    ends: list[int]  # samples up to each window's end


@dataclasses.dataclass(frozen=True)
class _Window:
    start: int  # samples of the part before it
    shards: list[int]
    lows: list[int]
    ends: list[int]  # samples up to each shard's end
    shuffled: np.ndarray


class SampleOrder:
    """The order of a shard set's samples over all epochs.

    Args:
        seed: The run's seed.
        name: Keeps the orders of modes and sets apart.
        sizes: Samples of each shard; shards without samples are allowed, all empty is not.
        window: Number of shards that are shuffled together, at most.
        parts: In how many parts of equally many samples an epoch's shards are dealt.

    Raises:
        InputError: If there is no sample, or window or parts are below 1.
    """

    def __init__(
        self,
        seed: int,
        name: str,
        sizes: Sequence[int],
        window: int = DEFAULT_WINDOW,
        parts: int = 1,
    ) -> None:
        for setting, value in (("shuffle_window", window), ("node_parts", parts)):
            if value < 1:
                raise InputError(f"{setting}={value}; give at least 1")
        self.seed, self.name, self.window, self.parts = seed, name, window, parts
        self.sizes = np.asarray(sizes, np.int64)
        self.num_samples = int(self.sizes.sum())
        if self.num_samples < 1:
            raise InputError(f"the {name} shards hold no sample")
        self._epoch = functools.lru_cache(_KEPT_EPOCHS)(self._make_epoch)
        self._part = functools.lru_cache(_KEPT_EPOCHS * parts)(self._make_part)
        self._window = functools.lru_cache(_KEPT_EPOCHS * parts)(self._make_window)
        self._coming = functools.lru_cache(_KEPT_EPOCHS * parts)(self._make_coming)

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleOrder, (self.seed, self.name, self.sizes, self.window, self.parts)

    def place(self, position: int) -> Place:
        """Return the sample at a position (>= 0) of the infinite stream."""
        epoch, lane = position // self.num_samples, position % self.parts
        part = self._part(epoch, lane)
        offset = position // self.parts - part.first
        window = self._window(epoch, lane, bisect.bisect_right(part.ends, offset))
        drawn = int(window.shuffled[offset - window.start])
        which = bisect.bisect_right(window.ends, drawn)
        before = window.ends[which - 1] if which else 0
        return Place(epoch, window.shards[which], window.lows[which] + drawn - before)

    def places(self, start: int, stop: int) -> list[Place]:
        """Return the samples at positions ``start`` to ``stop`` (exclusive), over epochs' ends."""
        return [self.place(position) for position in range(start, stop)]

    def coming_shards(self, position: int) -> tuple[int, ...]:
        """Return the shards that a position's part reads from: those of its window and the next."""
        return self._coming(*self._window_of(position))

    def _make_coming(self, epoch: int, lane: int, number: int) -> tuple[int, ...]:
        part = self._part(epoch, lane)
        behind = (part.first + part.ends[number]) * self.parts + lane
        shards = dict[int, None]()
        for e, _, n in ((epoch, lane, number), self._window_of(behind)):
            part = self._part(e, lane)
            shards |= dict.fromkeys(part.shards[part.cuts[n] : part.cuts[n + 1]].tolist())
        return tuple(shards)

    def _window_of(self, position: int) -> tuple[int, int, int]:
        """Return epoch, part and number of the window that a position falls into."""
        epoch, lane = position // self.num_samples, position % self.parts
        part = self._part(epoch, lane)
        return epoch, lane, bisect.bisect_right(part.ends, position // self.parts - part.first)

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an epoch's permutation of the shards and the samples up to each one's end."""
        shards = keyed_generator(self.seed, "order", self.name, epoch).permutation(len(self.sizes))
        return shards, np.cumsum(self.sizes[shards])

    def _make_part(self, epoch: int, lane: int) -> _Part:
        shards, ends = self._epoch(epoch)
        start, stop = self._run(epoch, lane), self._run(epoch, lane + 1)
        low = int(np.searchsorted(ends, start, side="right"))
        high = int(np.searchsorted(ends, stop, side="left")) + 1
        shards, ends = shards[low:high], ends[low:high]
        starts = ends - self.sizes[shards]
        lows = np.maximum(start - starts, 0)
        counts = np.minimum(ends, stop) - starts - lows
        windows = -(-len(shards) // self.window)
        cuts = -(-np.arange(windows + 1) * len(shards) // windows)
        totals = np.add.reduceat(counts, cuts[:-1])
        first = -(-(epoch * self.num_samples - lane) // self.parts)
        return _Part(first, shards, lows, counts, cuts, np.cumsum(totals).tolist())

    def _run(self, epoch: int, lane: int) -> int:
        """Return how many positions of an epoch belong to the parts before ``lane``."""
        first, last = epoch * self.num_samples, (epoch + 1) * self.num_samples
        return _before(last, lane, self.parts) - _before(first, lane, self.parts)

    def _make_window(self, epoch: int, lane: int, number: int) -> _Window:
        part = self._part(epoch, lane)
        low, high = part.cuts[number], part.cuts[number + 1]
        ends = np.cumsum(part.counts[low:high]).tolist()
        name = self.name if self.parts == 1 else f"{self.name}/{lane}-of-{self.parts}"
        generator = keyed_generator(self.seed, f"order-window-{number}", name, epoch)
        return _Window(
            start=part.ends[number - 1] if number else 0,
            shards=part.shards[low:high].tolist(),
            lows=part.lows[low:high].tolist(),
            ends=ends,
            shuffled=generator.permutation(ends[-1]),
        )


def _before(position: int, lane: int, parts: int) -> int:
    """Return how many of the first positions belong to the parts before ``lane``."""
    rounds, rest = divmod(position, parts)
    return rounds * lane + min(rest, lane)
