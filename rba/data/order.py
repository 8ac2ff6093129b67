"""The order of samples as a pure function: position in a mode's infinite stream -> sample.

An epoch is a permutation of the shards, cut into windows of W shards, with the samples of each
window shuffled together. Only the window that a position falls into is ever made, so a start at
step 1,000,000 costs what a start at step 0 costs, and few shards are open at any time.
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError

DEFAULT_WINDOW = 8  # shards


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a position of the stream lies: epoch, number of the shard, number within the shard."""

    epoch: int
    shard: int
    index: int


class SampleOrder:
    """The order of one mode's samples over all epochs.

    Args:
        seed: The run's seed.
        name: Keeps the orders of two modes apart.
        sizes: Samples of each shard; shards without samples are allowed, all empty is not.
        window: Number of shards that are shuffled together.

    Raises:
        InputError: If there is no sample or the window is below 1.
    """

    def __init__(
        self, seed: int, name: str, sizes: Sequence[int], window: int = DEFAULT_WINDOW
    ) -> None:
        if window < 1:
            raise InputError(f"shuffle_window={window}; give at least 1 shard")
        if sum(sizes) < 1:
            raise InputError(f"the {name} shards hold no sample")
        self.seed, self.name, self.window = seed, name, window
        self.sizes = np.asarray(sizes, np.int64)
        self.num_samples = int(self.sizes.sum())
        self._packed_sizes = self.sizes.tobytes()

    def place(self, position: int) -> Place:
        """Return the sample at a position (>= 0) of the infinite stream."""
        epoch, rest = divmod(position, self.num_samples)
        shards, ends = _epoch(self.seed, self.name, epoch, self.window, self._packed_sizes)
        number = bisect.bisect_right(ends, rest)
        start = ends[number - 1] if number else 0
        members = shards[number * self.window : (number + 1) * self.window]
        sizes = self.sizes[list(members)]
        shuffled = _window(self.seed, self.name, epoch, number, int(sizes.sum()))
        drawn = int(shuffled[rest - start])
        bounds = np.cumsum(sizes)
        which = int(np.searchsorted(bounds, drawn, side="right"))
        return Place(epoch, members[which], drawn - int(bounds[which] - sizes[which]))

    def places(self, start: int, stop: int) -> list[Place]:
        """Return the samples at positions ``start`` to ``stop`` (exclusive), over epochs' ends."""
        return [self.place(position) for position in range(start, stop)]


@functools.lru_cache(maxsize=8)
def _epoch(
    seed: int, name: str, epoch: int, window: int, packed_sizes: bytes
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the epoch's permutation of shards and the running sample counts of its windows."""
    sizes = np.frombuffer(packed_sizes, np.int64)
    permutation = keyed_generator(seed, "order", name, epoch).permutation(len(sizes))
    totals = np.add.reduceat(sizes[permutation], np.arange(0, len(sizes), window))
    return tuple(permutation.tolist()), tuple(itertools.accumulate(totals.tolist()))


@functools.lru_cache(maxsize=8)
def _window(seed: int, name: str, epoch: int, number: int, samples: int) -> np.ndarray:
    generator = keyed_generator(seed, f"order-window-{number}", name, epoch)
    return generator.permutation(samples)
