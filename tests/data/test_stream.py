import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from rba.batch import Mode
from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.alternation import ModePattern
from rba.data.mode_stream import ModeStream
from rba.data.order import SampleOrder
from rba.data.recipe import Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.shards import ShardSet
from rba.data.stream import AlternatingStream, BatchSplit, StepSampler, start_worker
from rba.errors import InputError

GLOBAL_BATCH = 8


@pytest.fixture
def build(alignment_folder, refinement_folder, make):
    """Build the stream of one rank."""

    def streams(folders):
        result = {}
        for mode, folder in folders.items():
            recipe = Recipe(
                image_size=32, reference_size=32, masks=make.blob_mask, seed=5, namespace=mode
            )
            if mode is Mode.ALIGNMENT:
                maker = AlignmentExamples(AlignmentSettings(), recipe)
            else:
                maker = RefinementExamples(RefinementSettings(), recipe)
            shards = ShardSet.open(folder, mode)
            result[mode] = ModeStream(shards, SampleOrder(5, mode, shards.sizes, 2), maker)
        return result

    def build_stream(
        world_size=1, rank=0, per_device_batch=GLOBAL_BATCH, pattern=None, alignment=None
    ):
        split = BatchSplit(
            global_batch=GLOBAL_BATCH, per_device_batch=per_device_batch,
            world_size=world_size, rank=rank,
        )  # fmt: skip
        folders = {
            Mode.ALIGNMENT: alignment or alignment_folder,
            Mode.REFINEMENT: refinement_folder,
        }
        return AlternatingStream(streams(folders), pattern or ModePattern(), split)

    return build_stream


def same(a, b):
    tensors = ("image", "artifact_mask", "reference", "correspondence_mask", "draws", "weight")
    return (a.mode, a.sample_ids) == (b.mode, b.sample_ids) and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in tensors
    )


def global_batch(build, step, world_size, per_device_batch):
    """Collect what all ranks and micro-batches of a step see, as draw -> (id, pixels)."""
    seen = {}
    for rank in range(world_size):
        stream = build(world_size, rank, per_device_batch)
        accumulation = stream.split.accumulation
        for micro in range(accumulation):
            batch = stream[step * accumulation + micro]
            for slot, draw in enumerate(batch.draws.tolist()):
                assert draw not in seen
                pixels = (batch.image[slot], batch.reference[slot], batch.artifact_mask[slot])
                seen[draw] = (batch.mode, batch.sample_ids[slot], *pixels)
    return seen


@pytest.mark.parametrize(("world_size", "per_device_batch"), [(2, 4), (4, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("step", [0, 3, 8])
def test_ranks_and_micro_batches_divide_the_same_global_batch(
    build, step, world_size, per_device_batch
):
    whole = global_batch(build, step, 1, GLOBAL_BATCH)
    parts = global_batch(build, step, world_size, per_device_batch)
    first = ModePattern().mode_step(step) * GLOBAL_BATCH
    assert sorted(parts) == sorted(whole) == list(range(first, first + GLOBAL_BATCH))
    for draw, (mode, sample_id, *pixels) in whole.items():
        assert parts[draw][:2] == (mode, sample_id)
        assert all(torch.equal(a, b) for a, b in zip(pixels, parts[draw][2:], strict=True))


def loaded(stream, start, count, workers):
    loader = DataLoader(
        stream, batch_size=None, sampler=StepSampler(start), num_workers=workers,
        collate_fn=lambda batch: batch, worker_init_fn=start_worker,
        persistent_workers=workers > 0,
    )  # fmt: skip
    return list(itertools.islice(loader, count))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_resume_do_not_change_a_pixel(build, workers):
    stream = build(2, 1, 2)
    expected = [stream[micro_step] for micro_step in range(10)]
    assert all(same(a, b) for a, b in zip(expected, loaded(stream, 0, 10, workers), strict=True))
    resumed = loaded(build(2, 1, 2), 7, 3, workers)
    assert all(same(a, b) for a, b in zip(expected[7:], resumed, strict=True))


def test_an_epoch_has_every_sample_once_across_steps(build):
    stream = build(pattern=ModePattern(refinement=0))
    ids = [sample for step in range(23) for sample in stream[step].sample_ids]
    for epoch in range(8):  # 8 epochs of 23 samples = 23 batches of 8
        assert len(set(ids[epoch * 23 : (epoch + 1) * 23])) == 23
    assert ids[:23] != ids[23:46]


def test_modes_never_mix_and_the_pattern_decides(build):
    stream = build(2, 0, 2, ModePattern(alignment=2, refinement=1))
    modes = [stream[micro_step].mode for micro_step in range(12)]
    assert modes == [Mode(name) for name in ["alignment"] * 4 + ["refinement"] * 2] * 2


def test_a_late_step_costs_what_an_early_one_costs(build):
    assert build()[10**6].draws.tolist() == list(range(4 * 10**6, 4 * 10**6 + 8))


def test_a_batch_that_cannot_be_divided_names_the_nearest():
    with pytest.raises(InputError, match=r"180 and 200, or keep it with per_device_batch=4 or 6$"):
        BatchSplit(global_batch=192, per_device_batch=5, world_size=4)
    with pytest.raises(InputError, match=r"120 and 240, or keep it on 4 or 8 ranks$"):
        BatchSplit(global_batch=192, per_device_batch=24, world_size=5)
    with pytest.raises(InputError, match=r"with per_device_batch=12 or 24, or on 6 or 12 ranks$"):
        BatchSplit(global_batch=192, per_device_batch=16, world_size=8)
    with pytest.raises(InputError, match=r"nearest are 24$"):
        BatchSplit(global_batch=7, per_device_batch=3, world_size=8)
    with pytest.raises(InputError, match="per_device_batch=0"):
        BatchSplit(global_batch=8, per_device_batch=0)


def test_shuffled_references_are_the_neighbours_and_have_no_known_match(build) -> None:
    plain, shuffled = build(), build()
    shuffled.shuffle_references = True
    for item in range(2):
        right, wrong = plain[item], shuffled[item]
        assert torch.equal(right.image, wrong.image)
        assert torch.equal(right.artifact_mask, wrong.artifact_mask)
        assert torch.equal(right.reference.roll(-1, 0), wrong.reference)
        assert not torch.equal(right.reference, wrong.reference)
        assert not wrong.correspondence_known.any()
        assert wrong.places.isnan().all()
