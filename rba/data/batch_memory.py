"""Batches pass from a loader's worker to the trainer in shared memory that is used again and again.

torch makes new shared memory for each tensor of each batch. The kernel zeroes and maps it page by
page, and each piece is handed over through a socket of its own: more work than collating. Here a
worker writes a batch into one block, which is its own again once nothing of the batch is left.
"""

import dataclasses
import os
import uuid
import weakref
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from rba.batch import Batch

_ALIGNMENT = 64  # bytes; the first hold the flag
_FREE, _TAKEN = 0, 1

_memories: "weakref.WeakValueDictionary[str, BatchMemory]" = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a block; its strides stay as they are."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, block: Tensor) -> Tensor:
        """Return the tensor's view of a block."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        flat = block[self.offset : self.offset + size].view(self.dtype)
        return flat.as_strided(self.shape, self.stride)


class BatchMemory:
    """The blocks of one loader's workers. A worker that finds none free makes another.

    Blocks are as many as batches are on their way or in use at once, for each worker.

    Attributes:
        blocks: Those that the trainer has seen, by the worker's process and their number.
    """

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex  # the same in the workers
        self._own: list[Tensor] = []  # in a worker: those that it writes
        self.blocks: dict[tuple[int, int], Tensor] = {}
        _memories[self._name] = self

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is spawned needs the name alone."""
        return {"_name": self._name, "_own": [], "blocks": {}}

    def pack(self, batch: Any) -> "PackedBatch":
        """Write a batch into a free block (in a worker); the trainer receives a `Batch`."""
        places: dict[str, _Place] = {}
        facts: dict[str, Any] = {}
        end = _ALIGNMENT
        for field in dataclasses.fields(batch):
            value = getattr(batch, field.name)
            if isinstance(value, Tensor):
                places[field.name] = _Place(end, value.dtype, tuple(value.shape), value.stride())
                end += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
            else:
                facts[field.name] = value
        number, made = self._free_block(end)
        block = self._own[number]
        block[0] = _TAKEN
        for name, place in places.items():
            place.of(block).copy_(getattr(batch, name))
        new = block if made else None
        return PackedBatch(self._name, os.getpid(), number, new, places, facts)

    def unpack(self, packed: "PackedBatch") -> Batch:
        """Return the batch of a block, which is free again when none of its tensors is left."""
        key = (packed.process, packed.number)
        if packed.new is not None:
            self.blocks[key] = packed.new
        block = self.blocks[key].numpy()
        lent = block[:]  # an array of its own: it lives as long as the tensors made of it
        weakref.finalize(lent, block.__setitem__, 0, _FREE).atexit = False
        whole = torch.from_numpy(lent)
        tensors = {name: place.of(whole) for name, place in packed.places.items()}
        return Batch(**tensors, **packed.facts)

    def keep(self, processes: Collection[int]) -> None:
        """Let go of the blocks of all other workers (in the trainer)."""
        for key in list(self.blocks):
            if key[0] not in processes:
                self.blocks.pop(key, None)

    def _free_block(self, size: int) -> tuple[int, bool]:
        """Return the number of a block that is free and large enough, and whether it is new."""
        for number, block in enumerate(self._own):
            if int(block[0]) == _FREE and len(block) >= size:
                return number, False
        self._own.append(torch.zeros(size, dtype=torch.uint8).share_memory_())
        return len(self._own) - 1, True


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """A batch on its way: pickling hands it over, unpickling makes it a `Batch` again."""

    memory: str
    process: int
    number: int
    new: Tensor | None
    places: dict[str, _Place]
    facts: dict[str, Any]

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[Any, ...]]:
        fields = dataclasses.fields(self)
        return _arrive, tuple(getattr(self, field.name) for field in fields)


def _arrive(*fields: Any) -> Batch:
    packed = PackedBatch(*fields)
    return _memories[packed.memory].unpack(packed)
