"""Damage in every place of a shard: the exact replacement, the exact account, and nothing else."""

import dataclasses
import errno
import itertools
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from rba.batch import Mode
from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.alternation import ModePattern
from rba.data.bad_samples import TooManyBadSamplesError
from rba.data.mode_stream import ModeStream
from rba.data.order import SampleOrder
from rba.data.recipe import Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.sample import RecordError
from rba.data.shards import ShardSet
from rba.data.stream import AlternatingStream, BatchSplit, StepSampler, start_worker
from rba.data.validation import ValidationSet
from rba.data.writer import ShardWriter

SECOND = "alignment-000001.tar"  # samples 0005 to 0009 of the folder of 23
ONLY = {Mode.ALIGNMENT: ModePattern(refinement=0), Mode.REFINEMENT: ModePattern(alignment=0)}


@pytest.fixture
def folder(alignment_folder, tmp_path):
    return shutil.copytree(alignment_folder, tmp_path / "photos")


@pytest.fixture
def open_stream(make):
    def build(folder):
        shards = ShardSet.open(folder)
        mode = shards.kind
        recipe = Recipe(
            image_size=32, reference_size=32, masks=make.blob_mask, seed=5, namespace=mode
        )
        maker = (
            AlignmentExamples(AlignmentSettings(), recipe)
            if mode is Mode.ALIGNMENT
            else RefinementExamples(RefinementSettings(), recipe)
        )
        return ModeStream(shards, SampleOrder(5, mode, shards.sizes, 2), maker)

    return build


def member(folder, name):
    """Return the tar that holds a member, and where its header lies."""
    for tar in sorted(folder.glob("*.tar")):
        at = tar.read_bytes().find(name.encode() + b"\0")
        if at >= 0:
            return tar, at
    raise AssertionError(name)


def overwrite(folder, name, data, at=512):
    """Write bytes over a member, ``at`` bytes behind the start of its header."""
    tar, start = member(folder, name)
    content = bytearray(tar.read_bytes())
    content[start + at : start + at + len(data)] = data
    tar.write_bytes(bytes(content))


def order_of(stream, count):
    """The ids that the undamaged order has, with their keys."""
    return [stream.order.place(position) for position in range(count)]


def key_of(place):
    return f"{5 * place.shard + place.index:04d}"


DAMAGE = {
    "picture": (".jpg", 512, bytes(400), "member 'jpg' is not"),
    "JSON": (".json", 512, b"x", "member 'json' cannot be read"),
    "text": (".json", 513, b"\xff\xff", "member 'json' cannot be read"),
    "second header": (".json", 148, b"7777777", "member 'json' is missing"),
    "first header": (".jpg", 148, b"7777777", "not a tar block"),
    "no header": (".jpg", 0, bytes(512), "the index does not point at one sample"),
    "pickle": (".jpg", 4, b".pkl", "member 'pkl' is refused"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_next_sample_of_the_order_stands_in(open_stream, folder, kind):
    whole = [open_stream(folder).example(position) for position in range(46)]
    stream = open_stream(folder)
    bad = stream.order.place(2)
    key = key_of(bad)
    suffix, at, data, reason = DAMAGE[kind]
    if kind == "pickle":  # the header's sum must stay right for the name to be read
        tar, start = member(folder, f"{key}{suffix}")
        header = bytearray(tar.read_bytes()[start : start + 512])
        header[4:8] = data
        header[148:156] = b" " * 8
        data, at = header, 0
        header[148:156] = f"{sum(header):06o}\0 ".encode()
    overwrite(folder, f"{key}{suffix}", data, at)
    damaged = [stream.example(position) for position in range(46)]

    for position, (before, after) in enumerate(zip(whole, damaged, strict=True)):
        if not before.sample_id.endswith(key):
            assert after.sample_id == before.sample_id
            assert np.array_equal(after.image, before.image)
            assert after.replaced == ()
            continue
        assert after.sample_id == whole[position + 1].sample_id
        assert after.draw == position
        assert not np.array_equal(after.artifact_mask, whole[position + 1].artifact_mask)
        (account,) = after.replaced
        assert (account.dataset, account.index) == ("photos", bad.index)
        assert account.shard == stream.shards.entries[bad.shard].name
        assert account.key == ("" if "tar" in reason or "index" in reason else key)
        assert reason in account.reason
    # Two epochs: the same sample is met twice, its account is the same.
    assert len({e.replaced for e in damaged if e.replaced}) == 1
    assert sum(bool(e.replaced) for e in damaged) == 2


def remove(path):
    path.unlink()


def cut(path):
    """Keep the first sample and half of the second."""
    offsets = np.load(path.with_name(f"{path.stem}.index.npy"))
    with open(path, "r+b") as stream:
        stream.truncate(int(offsets[1].sum()) // 2)


def remove_index(path):
    path.with_name(f"{path.stem}.index.npy").unlink()


@pytest.mark.parametrize(("damage", "left"), [(remove, 0), (cut, 1), (remove_index, 0)])
def test_a_shard_that_goes_after_the_start(open_stream, folder, damage, left):
    stream = open_stream(folder)
    damage(folder / SECOND)
    gone = {f"{number:04d}" for number in range(5 + left, 10)}
    keys = [key_of(place) for place in order_of(stream, 200)]
    for position in range(69):
        example = stream.example(position)
        expected = next(k for k in keys[position:] if k not in gone)
        assert example.sample_id.endswith(f"/{expected}")
        skipped = list(itertools.takewhile(lambda k: k in gone, keys[position:]))
        assert [f"{5 + bad.index:04d}" for bad in example.replaced] == skipped
        assert all(bad.shard == SECOND for bad in example.replaced)


def seen(batches):
    """What a global batch is made of: draw -> id and pixels; and the accounts."""
    slots, bad = {}, set()
    for batch in batches:
        bad |= set(batch.replaced)
        for slot, draw in enumerate(batch.draws.tolist()):
            assert draw not in slots
            slots[draw] = (batch.sample_ids[slot], batch.image[slot], batch.reference[slot])
    return slots, bad


def assert_equal(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for draw, (name, *pixels) in one[0].items():
        assert other[0][draw][0] == name
        assert all(torch.equal(a, b) for a, b in zip(pixels, other[0][draw][1:], strict=True))


@pytest.mark.parametrize(("world_size", "workers"), [(1, 1), (1, 3), (2, 0), (2, 1), (2, 3)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_ranks_and_workers_replace_alike(open_stream, folder, world_size, workers):
    for number in (1, 2, 11, 17):
        overwrite(folder, f"{number:04d}.jpg", bytes(400))

    def load(world_size, rank, workers):
        split = BatchSplit(global_batch=8, per_device_batch=2, world_size=world_size, rank=rank)
        stream = open_stream(folder)
        (folder / "alignment-000002.tar").unlink(missing_ok=True)
        loader = DataLoader(
            AlternatingStream({Mode.ALIGNMENT: stream}, ONLY[Mode.ALIGNMENT], split),
            batch_size=None, sampler=StepSampler(0), num_workers=workers,
            collate_fn=lambda batch: batch, worker_init_fn=start_worker,
        )  # fmt: skip
        return itertools.islice(loader, 6 * split.accumulation)

    tar, kept = folder / "alignment-000002.tar", folder / "kept"
    shutil.copy(tar, kept)
    expected = seen(load(1, 0, 0))
    parts = []
    for rank in range(world_size):
        shutil.copy(kept, tar)
        parts += load(world_size, rank, workers)
    assert_equal(expected, seen(parts))
    assert {(bad.shard[-5], bad.index) for bad in expected[1]} == (
        {("0", 1), ("0", 2), ("3", 2)} | {("2", index) for index in range(5)}
    )


def test_validation_replaces_and_keeps_its_size(open_stream, folder):
    stream = open_stream(folder)
    overwrite(folder, f"{key_of(stream.order.place(1))}.jpg", bytes(400))
    batch = ValidationSet(stream, 3, 4)[0]
    ids = [key_of(place) for place in order_of(stream, 4)]
    assert [name[-4:] for name in batch.sample_ids] == [ids[0], ids[2], ids[2], ids[2]]
    assert batch.weight.tolist() == [1, 1, 1, 0]
    assert len(batch.replaced) == 1
    assert batch.to("cpu").replaced == batch.replaced


def write_one(folder, kind, records):
    with ShardWriter(folder, kind=kind, samples_per_shard=9, settings={}) as writer:
        for record in records:
            writer.write(record.key, record.encode())
    return folder


def test_an_object_mask_that_marks_nothing_makes_no_example(open_stream, make, tmp_path):
    mask = np.zeros((48, 56), bool)
    mask[10:30, 10:30] = True
    good = dataclasses.replace(make.alignment_record(0), mask=mask)
    empty = dataclasses.replace(make.alignment_record(1), mask=np.zeros((48, 56), bool))
    stream = open_stream(write_one(tmp_path / "set", Mode.ALIGNMENT, [good, empty]))
    examples = [stream.example(position) for position in range(2)]
    assert {e.sample_id[-4:] for e in examples} == {"0000"}
    (bad,) = {bad for e in examples for bad in e.replaced}
    assert (bad.key, bad.reason) == ("0001", "member 'mask.png' is empty: it marks no pixel")


@pytest.mark.parametrize("value", [(1.5, 0.5, 1.0), (0.5, 0.5, 7.0), (np.inf, 0.5, 1.0)])
def test_matches_out_of_range_make_no_example(open_stream, make, tmp_path, value):
    record = make.refinement_record(1)
    matches = record.matches.copy()
    matches[0, 0] = value
    records = [make.refinement_record(0), dataclasses.replace(record, matches=matches)]
    stream = open_stream(write_one(tmp_path / "set", Mode.REFINEMENT, records))
    (bad,) = {b for position in range(2) for b in stream.example(position).replaced}
    assert bad.key == "0001"
    assert "matches.npy" in bad.reason


@pytest.mark.parametrize("kind", Mode)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6
    )
)
def test_flipped_bytes_anywhere_only_ever_replace(open_stream, make, tmp_path, kind, flips):
    folder = tmp_path / kind
    if not folder.exists():
        make.shards(folder, kind, 3)
    (tar,) = folder.glob("*.tar")
    whole = tar.read_bytes()
    data = bytearray(whole)
    for place, change in flips:
        data[int(place * len(data))] ^= change

    def outcome():
        stream, told = open_stream(folder), []
        for position in range(3):
            try:
                example = stream.example(position)
            except TooManyBadSamplesError as error:
                told.append(str(error))
            else:
                told.append((example.sample_id, example.image.tobytes(), example.replaced))
        return told

    tar.write_bytes(bytes(data))
    try:
        assert outcome() == outcome()
    finally:
        tar.write_bytes(whole)


def test_a_set_without_a_good_sample_ends_the_run_with_the_list(open_stream, folder):
    for number in range(23):
        overwrite(folder, f"{number:04d}.jpg", bytes(400))
    with pytest.raises(TooManyBadSamplesError, match=r"46 samples in a row.*check_shards") as told:
        open_stream(folder).example(0)
    assert "x photos/alignment-000001.tar: member 'jpg' is not" in str(told.value)


def test_the_maker_may_refuse_a_sample(open_stream, folder):
    stream = open_stream(folder)
    make = stream.make
    first = key_of(stream.order.place(0))

    def picky(record, draw, sample_id):
        if record.key == first:
            raise RecordError("too dark", "mean 3")
        return make(record, draw, sample_id)

    stream.make = picky
    (bad,) = stream.example(0).replaced
    assert (bad.key, bad.reason, bad.detail) == (first, "too dark", "mean 3")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O"), TypeError("a bug"), MemoryError()])
def test_what_is_no_fault_of_the_bytes_is_never_replaced(open_stream, folder, error):
    stream = open_stream(folder)

    def fail(*_):
        raise error

    stream.shards.read = fail
    with pytest.raises(type(error)) as caught:
        stream.example(3)
    assert caught.value is error
    place = stream.order.place(3)
    assert f"alignment-{place.shard:06d}.tar, draw 3" in error.__notes__[0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_sample_has_a_fixed_number_of_examples_which_come_in_turn(open_stream, folder, count):
    plain = open_stream(folder)
    stream = ModeStream(plain.shards, plain.order, plain.make, count)
    size = len(plain.shards)
    epochs = [[stream.example(e * size + n) for n in range(size)] for e in range(3)]
    assert [x.draw for epoch in epochs for x in epoch] == list(range(3 * size))
    first, second, third = ({x.sample_id: x for x in epoch} for epoch in epochs)
    assert list(first) != list(second)  # the order is anew

    def same(one, two):
        fields = ("image", "artifact_mask", "reference", "correspondence_mask")
        return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in fields)

    for name in first:
        later = third if count == 2 else second
        assert same(first[name], later[name])
        assert same(first[name], second[name]) == (count == 1)
        again = open_stream(folder)
        assert not same(again.example(first[name].draw), again.example(first[name].draw + size))
    masks = {example.artifact_mask.tobytes() for example in first.values()}
    assert len(masks) > size // 2  # each sample has its own
