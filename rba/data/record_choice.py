"""Records of a set drawn at random, for looking at them."""

import dataclasses

import numpy as np

from rba.data.shards import ShardSet
from rba.draws import keyed_generator


@dataclasses.dataclass(frozen=True)
class RecordPlace:
    """Where a record lies: its number in the set, its shard's number, its number in the shard."""

    number: int
    shard: int
    index: int


def choose_records(shards: ShardSet, count: int, purpose: str, seed: int) -> list[RecordPlace]:
    """Draw records without repeats, in the set's order.

    Args:
        shards: The set.
        count: How many at most; 0 = all.
        purpose: Of the draw (see `rba.draws`).
        seed: Of the draw.
    """
    total = len(shards)
    numbers = np.arange(total)
    if 0 < count < total:
        rng = keyed_generator(seed, purpose, shards.kind.value, 0)
        numbers = np.sort(rng.choice(total, count, replace=False))
    starts = np.cumsum([0, *shards.sizes])
    places = np.searchsorted(starts, numbers, side="right") - 1
    return [
        RecordPlace(int(number), int(shard), int(number - starts[shard]))
        for number, shard in zip(numbers, places, strict=True)
    ]
