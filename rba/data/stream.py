"""The alternating stream: micro-batch m of a rank as a pure function of m. It keeps no state.

``global_batch`` samples form the batch of one optimiser step. Micro-batch i of rank r takes the
slots ``(i * world_size + r) * B`` to ``... + B`` of it (B a rank's micro-batch), so that the step's
samples are the same however many ranks, micro-batches and loader workers there are.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import cv2
import numpy as np
from torch.utils.data import Dataset, Sampler

from rba.batch import Batch, Example, Mode
from rba.data.alternation import ModePattern
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

    A sample whose bytes are bad is replaced by the next good one of the order, and logged once.

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
        for candidate in range(position, position + _MAX_BAD_IN_A_ROW):
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """How a global batch is divided.

    Attributes:
        global_batch: Samples of one optimiser step over all ranks.
        per_device_batch: Samples of one micro-batch of one rank.
        world_size: Number of ranks.
        rank: This rank.

    Raises:
        InputError: If the global batch is not a multiple of world size times micro-batch.
    """

    global_batch: int
    per_device_batch: int
    world_size: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        for name in ("global_batch", "per_device_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; give at least 1")
        together = self.world_size * self.per_device_batch
        if self.global_batch % together:
            lower = self.global_batch // together * together
            choices = [str(value) for value in (lower, lower + together) if value]
            raise InputError(
                f"global_batch={self.global_batch} is not a multiple of {self.world_size} ranks x "
                f"per_device_batch={self.per_device_batch}; the nearest are {' and '.join(choices)}"
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of one optimiser step on each rank."""
        return self.global_batch // (self.world_size * self.per_device_batch)

    def slots(self, micro: int) -> range:
        """Return this rank's slots of the global batch in its micro-batch number ``micro``."""
        start = (micro * self.world_size + self.rank) * self.per_device_batch
        return range(start, start + self.per_device_batch)


class AlternatingStream(Dataset[Batch]):
    """Item m is this rank's micro-batch m since step 0, a whole validated `Batch`.

    Args:
        streams: The stream of each mode that the pattern uses.
        pattern: Which mode a step has.
        split: How the global batch is divided.
        shuffle_references: See `LoaderSettings`.
    """

    def __init__(
        self,
        streams: dict[Mode, ModeStream],
        pattern: ModePattern,
        split: BatchSplit,
        *,
        shuffle_references: bool = False,
    ) -> None:
        self.streams = streams
        self.pattern = pattern
        self.split = split
        self.shuffle_references = shuffle_references

    def __getitem__(self, micro_step: int) -> Batch:
        step, micro = divmod(micro_step, self.split.accumulation)
        mode = self.pattern.mode(step)
        first = self.pattern.mode_step(step) * self.split.global_batch
        stream = self.streams[mode]
        examples = [stream.example(first + slot) for slot in self.split.slots(micro)]
        if self.shuffle_references:
            examples = _with_neighbours_references(examples)
        return Batch.collate(mode, examples)


def _with_neighbours_references(examples: list[Example]) -> list[Example]:
    """Give each example the reference of the next; no match is known any more."""
    neighbours = [*examples[1:], examples[0]]
    return [
        dataclasses.replace(
            example,
            reference=other.reference,
            reference_mask=other.reference_mask,
            correspondence_mask=np.zeros_like(other.correspondence_mask),
            correspondence_known=False,
            target_to_reference=None,
        )
        for example, other in zip(examples, neighbours, strict=True)
    ]


class StepSampler(Sampler[int]):
    """Count micro-steps up from the resume point, for ever."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        micro_step = self.start
        while True:
            yield micro_step
            micro_step += 1


def start_worker(_worker: int) -> None:
    """Prepare a loader worker: workers share the cores, OpenCV's threads would fight over them."""
    cv2.setNumThreads(0)
