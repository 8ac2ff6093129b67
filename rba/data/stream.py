"""The alternating stream: micro-batch m of a rank as a pure function of m. It keeps no state.

``global_batch`` samples form the batch of one optimiser step. Micro-batch i of rank r takes the
slots ``(i * world_size + r) * B`` to ``... + B`` of it (B a rank's micro-batch), so that the step's
samples are the same however many ranks, micro-batches and loader workers there are.
"""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np
from torch.utils.data import Dataset, Sampler

from rba.batch import Batch, Example, Mode
from rba.data.alternation import ModePattern
from rba.data.mode_stream import ModeStream
from rba.errors import InputError


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
            places=None,
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
