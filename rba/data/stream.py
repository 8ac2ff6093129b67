"""The alternating stream: micro-batch m of a rank as a pure function of m. It keeps no state.

``global_batch`` samples form the batch of one optimiser step: the next so many positions of the
mode's stream. Rank r takes the r-th of equal runs of its slots, micro-batch i the i-th run of B of
these, so that the step's samples are the same however many ranks, micro-batches and loader workers
there are. With P parts (see `SampleOrder`) the first of P runs of slots are part 0's positions, so
that ranks of one node read one part.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from torch.utils.data import Dataset, Sampler

from rba.batch import Batch, Example, Mode
from rba.data.alternation import ModePattern
from rba.data.mixed_stream import MixedStream
from rba.data.mode_stream import ModeStream
from rba.data.worker_signals import outlive_signals
from rba.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """How a global batch is divided.

    Attributes:
        global_batch: Samples of one optimiser step over all ranks.
        per_device_batch: Samples of one micro-batch of one rank.
        world_size: Number of ranks.
        rank: This rank.
        parts: Parts of the shards' orders.

    Raises:
        InputError: If the global batch is not a multiple of world size times micro-batch, or of
            the parts.
    """

    global_batch: int
    per_device_batch: int
    world_size: int = 1
    rank: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        for name in ("global_batch", "per_device_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; give at least 1")
        together = self.world_size * self.per_device_batch
        what = f"{self.world_size} ranks x per_device_batch={self.per_device_batch}"
        self._require_multiple(together, what, self._ways_to_keep())
        self._require_multiple(self.parts, f"data.node_parts={self.parts}")

    def _require_multiple(self, divisor: int, what: str, otherwise: str = "") -> None:
        if self.global_batch % divisor:
            lower = self.global_batch // divisor * divisor
            choices = [str(value) for value in (lower, lower + divisor) if value]
            raise InputError(
                f"global_batch={self.global_batch} is not a multiple of {what}; the nearest are "
                f"{' and '.join(choices)}{otherwise}"
            )

    def _ways_to_keep(self) -> str:
        """Say with which micro-batch, or on how many ranks, the global batch could stay."""
        batches = _nearest(self.per_device_batch, self.global_batch / self.world_size)
        ranks = _nearest(self.world_size, self.global_batch / self.per_device_batch)
        ways = [f"with per_device_batch={' or '.join(batches)}"] if batches else []
        ways += [f"on {' or '.join(ranks)} ranks"] if ranks else []
        return f", or keep it {', or '.join(ways)}" if ways else ""

    @property
    def accumulation(self) -> int:
        """Micro-batches of one optimiser step on each rank."""
        return self.global_batch // (self.world_size * self.per_device_batch)

    def offsets(self, micro: int) -> list[int]:
        """Return which of the global batch's positions this rank's micro-batch ``micro`` takes."""
        start = self.rank * self.accumulation * self.per_device_batch
        start += micro * self.per_device_batch
        share = self.global_batch // self.parts
        slots = range(start, start + self.per_device_batch)
        return [slot % share * self.parts + slot // share for slot in slots]


def _nearest(wanted: int, whole: float) -> list[str]:
    """Return the divisors next to ``wanted`` on both sides; none where ``whole`` is no integer."""
    if whole != int(whole):
        return []
    divisors = [n for n in range(1, int(whole) + 1) if whole % n == 0]
    below, above = [n for n in divisors if n < wanted], [n for n in divisors if n > wanted]
    return [str(n) for n in (*below[-1:], *above[:1])]


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
        streams: Mapping[Mode, ModeStream | MixedStream],
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
        examples = [stream.example(first + offset) for offset in self.split.offsets(micro)]
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
    """Prepare a loader worker: workers share the cores, OpenCV's threads would fight over them.

    A signal that asks the run to end reaches them too, but the step must still be finished.
    """
    cv2.setNumThreads(0)
    outlive_signals()
