"""Batches in shared memory that is used again, but not while anything needs what it holds."""

import gc

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from rba.batch import Batch, Example, Mode
from rba.data.batch_memory import BatchMemory
from rba.data.watched_loader import WatchedLoader


def make(number: int, side: int = 16, size: int = 3) -> Batch:
    """A batch that tells its number in every tensor."""
    rng = np.random.default_rng(number)
    examples = [
        Example(
            image=rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
            artifact_mask=np.ones((side, side), bool),
            reference=rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
            reference_mask=rng.random((side, side)) > 0.5,
            correspondence_mask=rng.random((side, side), dtype=np.float32),
            correspondence_known=index == 1,
            draw=number * size + index,
            sample_id=f"set/shard/{number}-{index}",
            weight=float(index),
        )
        for index in range(size)
    ]
    return Batch.collate(Mode.REFINEMENT, examples)


class Numbered(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> Batch:
        return make(number, side=16 + 8 * (number % 3), size=1 + number % 4)


def load(
    workers: int, *, persistent: bool = False, dataset: Dataset | None = None
) -> WatchedLoader[Batch]:
    memory = BatchMemory()
    loader = WatchedLoader(
        dataset or Numbered(), batch_size=None, num_workers=workers, collate_fn=memory.pack,
        persistent_workers=persistent,
    )  # fmt: skip
    loader.memory = memory
    return loader


def assert_same(got: Batch, wanted: Batch) -> None:
    assert got.sample_ids == wanted.sample_ids
    assert got.mode is wanted.mode
    for name, tensor in vars(wanted).items():
        if isinstance(tensor, torch.Tensor):
            other = getattr(got, name)
            assert other.stride() == tensor.stride()
            assert torch.equal(other.nan_to_num(-1), tensor.nan_to_num(-1)), name


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_arrive_as_they_were_made(workers: int, persistent: bool) -> None:
    loader = load(workers, persistent=persistent)
    for _ in range(3):
        batches = list(loader)
        assert len(batches) == 12
        for number, batch in enumerate(batches):
            assert_same(batch, Numbered()[number])


def test_what_is_kept_is_never_written_over() -> None:
    kept = [batch.image[:, :, 1:] for batch in load(2)]  # a view alone keeps its block
    gc.collect()
    for number, image in enumerate(kept):
        assert torch.equal(image, Numbered()[number].image[:, :, 1:])


class Alike(Numbered):
    def __getitem__(self, number: int) -> Batch:
        return make(number)


def test_blocks_are_used_again() -> None:
    loader = load(1, dataset=Alike())
    places = {batch.image.data_ptr() for batch in loader}
    assert loader.memory is not None
    # Two are made ahead, one is looked at, one is being handed over; the worker may be one before.
    assert len(places) <= 5 < len(Alike())
    assert len(loader.memory.blocks) == len(places)


def test_blocks_of_workers_that_have_ended_are_let_go() -> None:
    loader = load(2)
    memory = loader.memory
    assert memory is not None
    list(loader)
    earlier = {process for process, _ in memory.blocks}
    list(loader)
    later = {process for process, _ in memory.blocks}
    assert len(earlier) == len(later) == 2
    assert not earlier & later


@pytest.mark.slow  # it imports torch anew
def test_a_spawned_worker_hands_over_too() -> None:
    loader = load(1)
    loader.multiprocessing_context = "spawn"
    batches = list(loader)
    assert len(batches) == 12
    for number, batch in enumerate(batches):
        assert_same(batch, Numbered()[number])
