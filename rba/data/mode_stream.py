"""The infinite stream of one mode's examples by position; bad samples are replaced.

A sample is bad where its BYTES are: damaged, cut off, gone, or not a record that can become an
example. Its place is taken by the next good sample of the same part of the order, so what a
position holds is a pure function of order and bytes, whatever rank or worker asks. The next sample
is then seen twice in that epoch, under two draw numbers and so with other holes and augmentation. A
network or file system that gives no answer is no fault of the bytes: it ends the run.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rba.batch import BadSample, Example
from rba.data.bad_samples import TooManyBadSamplesError, summarize
from rba.data.order import Place, SampleOrder
from rba.data.record_values import require_values
from rba.data.sample import RecordError, decode_record
from rba.data.shards import ShardSet

_MAX_IN_A_ROW = 1000  # more than a shard that is gone has in a row, where shards are shuffled


ExampleMaker: TypeAlias = Callable[[Any, int, str], Example]
"""(record of the shards' kind, draw, sample id) -> example; `RecordError` where it cannot be."""


class ModeStream:
    """The infinite stream of one mode's examples by position. It keeps no state.

    Args:
        shards: Where the records lie.
        order: Which record a position has.
        make: Turns a record into an example.
        examples_per_sample: None = each draw of a sample makes another example; N = it has N, which
            come in turn, epoch by epoch. Their draw numbers, which key the noise, stay their own.
    """

    def __init__(
        self,
        shards: ShardSet,
        order: SampleOrder,
        make: ExampleMaker,
        examples_per_sample: int | None = None,
    ) -> None:
        self.shards = shards
        self.order = order
        self.make = make
        self.examples_per_sample = examples_per_sample

    def example(self, position: int, draw: int | None = None) -> Example:
        """Return the example at a position of the stream, with the bad samples it stands in for.

        Args:
            position: Of the order.
            draw: Its draw number, where that is not the position.

        Raises:
            TooManyBadSamplesError: If there is no good one among those that follow.
            StorageError: If the storage gives no answer.
        """
        self.shards.will_need(self.order.coming_shards(position), position % self.order.parts)
        replaced: list[BadSample] = []
        draw = position if draw is None else draw
        step = self.order.parts  # the same part's next, whose shard is open
        # Any 2 n - 1 places in a row hold a whole epoch of n samples.
        reach = max(min(_MAX_IN_A_ROW, 2 * len(self.shards) // step), 1)
        for candidate in range(position, position + reach * step, step):
            place = self.order.place(candidate)
            found = self._attempt(place.shard, place.index, self._made_by(place, draw))
            if isinstance(found, Example):
                return dataclasses.replace(found, draw=draw, replaced=tuple(replaced))
            replaced.append(found)
        raise TooManyBadSamplesError(_none_is_good(self.shards, replaced))

    def _made_by(self, place: Place, draw: int) -> int:
        """Return the number that keys the crop, hole, warp and colours of a sample."""
        if (count := self.examples_per_sample) is None:
            return draw
        number = int(self.order.sizes[: place.shard].sum()) + place.index
        return number * count + place.epoch % count

    def _attempt(self, shard: int, index: int, draw: int) -> Example | BadSample:
        """Make an example of one stored sample, or say what is wrong with its bytes."""
        key, dataset, tar = "", self.shards.name, self.shards.entries[shard].name
        try:
            key, members = self.shards.read(shard, index)
            record = decode_record(self.shards.kind, key, members, lazily=True)
            require_values(record)
            return self.make(record, draw, self.shards.sample_id(shard, key))
        except RecordError as error:
            reason, detail = error.reason, error.detail
        except Exception as error:  # not a fault of the bytes: say where, and let it end the run
            error.add_note(f"at sample {index} ({key}) of {dataset}/{tar}, draw {draw}")
            raise
        return BadSample(
            dataset=dataset, shard=tar, index=index, key=key, reason=reason, detail=detail
        )


def _none_is_good(shards: ShardSet, replaced: Sequence[BadSample]) -> str:
    table = "; ".join(summarize(replaced, shown=5))
    return (
        f"{len(replaced)} samples in a row of {shards.folder} are bad ({table}); check the set "
        f"with data_tools/check_shards.py shards={shards.folder}, and build its shards again"
    )
