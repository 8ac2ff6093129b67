"""The infinite stream of one mode's examples by position; bad samples are replaced."""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from rba.batch import Example
from rba.data.order import SampleOrder
from rba.data.sample import RecordError, decode_record
from rba.data.shards import ShardSet
from rba.errors import InputError

_log = logging.getLogger(__name__)
_MAX_BAD_IN_A_ROW = 100


ExampleMaker: TypeAlias = Callable[[Any, int, str], Example]
"""(record of the shards' kind, draw, sample id) -> example."""


class ModeStream:
    """The infinite stream of one mode's examples by position.

    A sample whose bytes are bad is replaced by the next good one of its part of the order, and
    logged once.

    Args:
        shards: Where the records lie.
        order: Which record a position has.
        make: Turns a record into an example; the draw number is the position.
    """

    def __init__(self, shards: ShardSet, order: SampleOrder, make: ExampleMaker) -> None:
        self.shards = shards
        self.order = order
        self.make = make
        self._bad: set[tuple[int, int]] = set()

    def example(self, position: int) -> Example:
        """Return the example at a position of the stream.

        Raises:
            InputError: If many samples in a row are bad.
        """
        step = self.order.parts  # the same part's next, whose shard is open
        for candidate in range(position, position + _MAX_BAD_IN_A_ROW * step, step):
            place = self.order.place(candidate)
            try:
                key, members = self.shards.read(place.shard, place.index)
                record = decode_record(self.shards.kind, key, members)
            except RecordError as error:
                self._report(place.shard, place.index, error)
                continue
            return self.make(record, position, self.shards.sample_id(place.shard, key))
        raise InputError(
            f"{_MAX_BAD_IN_A_ROW} samples in a row of {self.shards.folder} are bad (see the log); "
            "build the shards again"
        )

    def _report(self, shard: int, index: int, error: RecordError) -> None:
        if (shard, index) in self._bad:
            return
        self._bad.add((shard, index))
        name = self.shards.entries[shard].name
        _log.warning(
            "bad sample %d of %s/%s replaced by the next one (%d so far in this process): %s",
            index, self.shards.name, name, len(self._bad), error,
        )  # fmt: skip
