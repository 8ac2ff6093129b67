"""Faults planted in good shards: each is named, with its shard and key, and nothing else is."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.batch import Mode
from rba.data.sample import AlignmentRecord
from rba.data.shard_check import check_shard, decoder_messages, is_pickle, shard_tasks
from rba.data.shard_faults import Fault, FaultTable, SampleDigest
from rba.data.shard_listing import list_shards
from rba.data.shards import ShardSet
from rba.data.writer import ShardWriter
from rba.errors import InputError

FIRST, SECOND = "alignment-000000.tar", "alignment-000001.tar"


def check(pattern):
    """All faults of a set, as `check_shards.py` collects them."""
    listing, table = list_shards(str(pattern)), FaultTable()
    table.add(listing.faults)
    for result in map(check_shard, shard_tasks(listing)):
        table.add(result.faults)
        table.add_samples(result.name, result.samples)
    table.add(table.find_repeats())
    return list(table)


def short(faults):
    return [(fault.shard, fault.key, fault.check) for fault in faults]


def rewrite(folder, name=FIRST, update=None, drop=(), order=None):
    """Write a tar again with other members, and its size and digest into the manifest.

    The index stays, so that only changes that move nothing keep it right.
    """
    path = folder / name
    with tarfile.open(path) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    members = {**members, **(update or {})}
    names = [n for n in (order or (lambda names: names))(list(members)) if n not in drop]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member in names:
            info = tarfile.TarInfo(member)
            info.size = len(members[member])
            tar.addfile(info, io.BytesIO(members[member]))
    seal(folder, name)


def seal(folder, name=FIRST):
    """Make the manifest agree with a tar that was changed on purpose."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    data = (folder / name).read_bytes()
    for entry in manifest["shards"]:
        if entry["name"] == name:
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.fixture
def folder(alignment_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(alignment_folder, tmp_path / "set")


def test_what_our_writer_writes_has_no_fault(alignment_folder, refinement_folder):
    assert check(alignment_folder) == []
    assert check(refinement_folder) == []


@pytest.mark.parametrize("pattern", ["*.tar", "manifest.json", "alignment-{000000..000003}.tar"])
def test_patterns(alignment_folder, pattern):
    assert check(f"{alignment_folder}/{pattern}") == []


def test_a_remote_set_is_read_through_fsspec(alignment_folder):
    memory = fsspec.filesystem("memory")
    memory.put(str(alignment_folder), "/lab/set", recursive=True)
    try:
        assert check("memory://lab/set") == []
        memory.pipe("/lab/set/" + FIRST, memory.cat("/lab/set/" + FIRST)[:-512])
        assert (FIRST, "", "manifest") in short(check("memory://lab/set"))
    finally:
        memory.rm("/lab", recursive=True)


def test_nothing_to_check_is_a_mistake(tmp_path):
    for pattern in (tmp_path, tmp_path / "gone", f"{tmp_path}/*.tar", "nofs://bucket/set"):
        with pytest.raises(InputError, match="shards="):
            check(pattern)


def test_a_flipped_bit_breaks_the_digest(folder):
    data = bytearray((folder / FIRST).read_bytes())
    data[2000] ^= 1  # within the first picture
    (folder / FIRST).write_bytes(data)
    faults = check(folder)
    assert (FIRST, "", "manifest") in short(faults)
    assert all(fault.shard == FIRST for fault in faults)
    assert any("sha256" in fault.reason for fault in faults)


def test_a_tar_cut_short_is_named_with_what_is_lost(folder):
    data = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(data[: len(data) // 2])
    reasons = [fault.reason for fault in check(folder) if fault.shard == FIRST]
    assert any("cut short" in reason for reason in reasons)
    assert any(f"the manifest says {len(data)}" in reason for reason in reasons)
    assert any("samples, the manifest says 5" in reason for reason in reasons)
    assert {fault.shard for fault in check(folder)} == {FIRST}


@pytest.mark.parametrize("tail", [512, 1024])
def test_a_tar_without_its_end_mark(folder, tail):
    data = (folder / FIRST).read_bytes()
    end = int(np.load(folder / "alignment-000000.index.npy")[-1, 1])
    (folder / FIRST).write_bytes(data[: end + 1024 - tail])
    seal(folder)
    assert [fault.reason for fault in check(folder)] == [
        "the tar has no end mark, so it is cut short"
    ]


def test_the_check_goes_on_behind_a_damaged_header(folder):
    """Readers of WebDataset stop there and give a part of the samples without a word."""
    offsets = np.load(folder / "alignment-000000.index.npy")
    data = bytearray((folder / FIRST).read_bytes())
    start = int(offsets[1, 0])
    data[start : start + 200] = b"\xff" * 200
    (folder / FIRST).write_bytes(data)
    seal(folder)
    faults = check(folder)
    assert {fault.shard for fault in faults} == {FIRST}
    assert {fault.key for fault in faults if fault.check != "index"} == {"0001"}
    assert any("no tar header" in fault.reason for fault in faults)
    assert any("member 'jpg' is missing" in fault.reason for fault in faults)


def test_bytes_behind_the_end(folder):
    with open(folder / FIRST, "ab") as stream:
        stream.write(b"x" * 700)
    seal(folder)
    (fault,) = check(folder)
    assert "after the last member are no tar header" in fault.reason


def test_a_compressed_tar_is_named_as_such(folder):
    (folder / FIRST).write_bytes(gzip.compress((folder / FIRST).read_bytes()))
    faults = check(folder)
    assert {fault.shard for fault in faults} == {FIRST}
    assert any("compressed with gzip" in fault.reason for fault in faults)


SHORT_JPEG = AlignmentRecord(
    key="x", image=np.zeros((16, 16, 3), np.uint8), mask=None, metadata={}
).encode()["jpg"][:-40]  # fmt: skip

PLANTED = {
    "cut JPEG": ("0002.jpg", SHORT_JPEG, "records", "not a whole JPEG"),
    "no JPEG": ("0002.jpg", b"GIF89a", "records", "not a whole JPEG"),
    "empty": ("0002.jpg", b"", "records", "not a whole JPEG"),
    "no PNG": ("0002.mask.png", b"\x89PNG....", "records", "not a readable PNG"),
    "no JSON": ("0002.json", b"{", "records", "cannot be read"),
    "a list": ("0002.json", b"[1]", "records", "not an object"),
    "schema": ("0002.json", b'{"schema": 7}', "records", "schema 7"),
    "foreign": ("0002.txt", b"a cup", "members", "member 'txt' is foreign"),
    "foreign JPEG": ("0002.other.jpg", b"", "members", "'other.jpg' is foreign"),
    "pickle": ("0002.pkl", b"\x80\x04N.", "members", "member 'pkl' is a pickle"),
    "packed pickle": ("0002.pth.gz", b"", "members", "member 'pth.gz' is a pickle"),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=list(PLANTED))
def test_bad_members_are_named_with_their_key(folder, planted):
    name, data, found_by, reason = planted
    rewrite(folder, update={name: data}, order=sorted)
    faults = [fault for fault in check(folder) if fault.check != "index"]
    assert [(fault.shard, fault.key) for fault in faults] == [(FIRST, "0002")] * len(faults)
    assert any(fault.check == found_by and reason in fault.reason for fault in faults)


def test_a_member_of_no_sample(folder):
    rewrite(folder, update={"README": b"hello"})
    assert [fault.reason for fault in check(folder) if fault.check != "index"] == [
        "member 'README' belongs to no sample"
    ]


def test_members_that_are_not_adjacent(folder):
    rewrite(folder, order=lambda names: sorted(names, key=lambda name: name.split(".")[1]))
    faults = check(folder)
    apart = {fault.key for fault in faults if "not adjacent" in fault.reason}
    assert apart == {f"{number:04d}" for number in range(5)}


def test_a_mask_of_another_size_and_an_empty_one(make, tmp_path):
    image = make.picture(40, 40)
    with ShardWriter(
        tmp_path / "set", kind=Mode.ALIGNMENT, samples_per_shard=9, settings={}
    ) as writer:
        for key, side, fill in (("a", 40, True), ("b", 39, True), ("c", 40, False)):
            mask = np.full((side, side), fill)
            record = AlignmentRecord(key=key, image=image + ord(key), mask=mask, metadata={})
            writer.write(key, record.encode())
    reasons = {fault.key: fault.reason for fault in check(tmp_path / "set")}
    assert set(reasons) == {"b", "c"}
    assert "(39, 39)" in reasons["b"]
    assert "marks no pixel" in reasons["c"]


@pytest.mark.parametrize(
    ("value", "reason"), [((1.5, 0.5, 1.0), "outside the reference"), ((0.5, 0.5, 7.0), "confiden")]
)
def test_matches_out_of_their_range(make, tmp_path, value, reason):
    record = make.refinement_record(0)
    matches = record.matches.copy()
    matches[0, 0] = value
    with ShardWriter(
        tmp_path / "set", kind=Mode.REFINEMENT, samples_per_shard=9, settings={}
    ) as writer:
        writer.write("a", dataclasses.replace(record, matches=matches).encode())
    (fault,) = check(tmp_path / "set")
    assert fault.key == "a"
    assert reason in fault.reason


def test_damage_that_only_the_decoder_sees(make, folder):
    """A run of bytes lost within a picture: OpenCV decodes it all the same."""
    record = AlignmentRecord(key="0002", image=make.picture(96, 96), mask=None, metadata={})
    jpeg = record.encode()["jpg"]
    jpeg = jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 2 + 300 :]
    rewrite(folder, update={"0002.jpg": jpeg})
    faults = [fault for fault in check(folder) if fault.check != "index"]
    assert short(faults) == [(FIRST, "0002", "records")]
    assert "its decoder says" in faults[0].reason


def test_the_decoder_is_heard_and_the_terminal_kept(capfd):
    with decoder_messages() as messages:
        os.write(2, b"one\ntwo\n")
    os.write(2, b"three\n")
    assert messages == ["one", "two"]
    assert capfd.readouterr().err == "three\n"


def test_keys_and_pictures_that_are_there_twice(make, tmp_path):
    with ShardWriter(
        tmp_path / "set", kind=Mode.ALIGNMENT, samples_per_shard=2, settings={}
    ) as writer:
        for key, number in (("a", 0), ("b", 1), ("c", 0), ("b", 2)):
            writer.write(key, make.alignment_record(number).encode())
    assert check(tmp_path / "set") == [
        Fault(shard=SECOND, key="b", check="key twice", reason=f"has the key of {FIRST} b"),
        Fault(
            shard=SECOND,
            key="c",
            check="same pictures",
            reason=f"has the very pictures of {FIRST} a",
        ),
    ]


def test_repeats_of_any_number_are_found_once_each():
    table = FaultTable()
    for shard in range(3):
        samples = [SampleDigest(f"{shard}-{n}", bytes([n % 4])) for n in range(8)]
        table.add_samples(f"{shard}.tar", [*samples, SampleDigest(f"{shard}-none", None)])
    repeats = list(table.find_repeats())
    assert len(repeats) == 3 * 8 - 4
    assert all(fault.check == "same pictures" for fault in repeats)
    table.add(repeats)
    assert table.counts() == {"same pictures": (20, 3)}


MANIFESTS = {
    "gone": (lambda m: m["shards"].append({**m["shards"][0], "name": "gone.tar"}),
             ("gone.tar", "listed in the manifest but missing")),
    "twice": (lambda m: m["shards"].append(m["shards"][0]), (FIRST, "listed twice")),
    "unlisted": (lambda m: m["shards"].pop(0), (FIRST, "not listed in the manifest")),
    "count": (lambda m: m["shards"][0].update(samples=6), (FIRST, "has 5 samples, the manifest")),
    "bytes": (lambda m: m["shards"][0].update(bytes=6), (FIRST, "the manifest says 6")),
    "index": (lambda m: m["shards"][0].update(index_sha256=""), (FIRST, "not the one that the")),
    "fields": (lambda m: m["shards"][0].pop("bytes"), ("manifest.json", "needs exactly")),
    "schema": (lambda m: m.update(schema_version=7), ("manifest.json", "has schema 7")),
}  # fmt: skip


@pytest.mark.parametrize("planted", MANIFESTS.values(), ids=list(MANIFESTS))
def test_manifests_that_are_wrong(folder, planted):
    change, (shard, reason) = planted
    edit_manifest(folder, change)
    faults = check(folder)
    assert [fault.shard for fault in faults] == [shard]
    assert reason in faults[0].reason


def test_another_kind_than_the_manifest_says(folder):
    edit_manifest(folder, lambda manifest: manifest.update(kind="refinement"))
    faults = check(folder)
    assert len([f for f in faults if "foreign to refinement" in f.reason]) == 23


def test_without_a_manifest_the_tars_are_read_all_the_same(folder):
    (folder / "manifest.json").unlink()
    data = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(data[: len(data) // 2])
    faults = check(folder)
    assert ("manifest.json", "", "files") in short(faults)
    assert (FIRST, "", "tar") in short(faults)


def test_files_that_are_too_many_or_too_few(folder):
    (folder / SECOND).unlink()
    (folder / "other.tar").write_bytes((folder / FIRST).read_bytes())
    (folder / "left.index.npy").write_bytes(b"")
    (folder / ".alignment-000007.tar.partial").write_bytes(b"")
    (folder / "alignment-000002.index.npy").unlink()
    (folder / "build_report.json").write_text("{}")
    found = {(fault.shard, fault.reason) for fault in check(folder) if fault.check != "key twice"}
    assert {(shard, reason) for shard, reason in found if "pictures" not in reason} == {
        (SECOND, "listed in the manifest but missing"),
        ("other.tar", "not listed in the manifest"),
        ("left.index.npy", "an index without its tar"),
        (".alignment-000007.tar.partial", "left by a build that did not finish"),
        ("alignment-000002.tar", "the index is missing"),
    }


def test_an_index_that_points_elsewhere(folder):
    path = folder / "alignment-000000.index.npy"
    offsets = np.load(path)
    offsets[1, 1] += 512
    np.save(path, offsets)
    edit_manifest(
        folder,
        lambda manifest: manifest["shards"][0].update(
            index_sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        ),
    )
    assert [(fault.key, fault.check) for fault in check(folder)] == [
        ("0001", "index"),
        ("", "index"),
    ]
    np.save(path, offsets.astype(np.float32))
    assert any("float32" in fault.reason for fault in check(folder))
    np.save(path, np.array([{}]), allow_pickle=True)
    assert any("cannot be read" in fault.reason for fault in check(folder))


def test_every_fault_of_a_set_is_reported(folder):
    """Faults of four kinds in four of five shards: the first does not hide the last."""
    rewrite(folder, FIRST, update={"0000.json": b"{"})
    rewrite(folder, SECOND, update={"0005.txt": b""}, order=sorted)
    data = (folder / "alignment-000002.tar").read_bytes()
    (folder / "alignment-000002.tar").write_bytes(data[:-5000])
    (folder / "alignment-000004.tar").unlink()
    faulty = {fault.shard for fault in check(folder)}
    assert faulty == {f"alignment-{number:06d}.tar" for number in (0, 1, 2, 4)}


@pytest.mark.parametrize("name", ["pkl", "a.pkl", "pth", "pickle.gz", "pyd", "pt"])
def test_pickles_are_known_by_name(name):
    assert is_pickle(name)
    assert not is_pickle("json")


def test_a_sound_set_is_what_training_reads(folder):
    assert check(folder) == []
    assert len(ShardSet.open(folder)) == 23


@settings(max_examples=40)
@given(data=st.data())
def test_no_flipped_bit_and_no_cut_goes_unseen(refinement_folder, tmp_path_factory, data):
    """Nor does any of them end the check."""
    folder = tmp_path_factory.mktemp("set")
    shutil.copytree(refinement_folder, folder, dirs_exist_ok=True)
    tar = folder / "refinement-000002.tar"
    content = bytearray(tar.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    tar.write_bytes(content)
    faults = check(folder)
    assert faults
    assert {fault.shard for fault in faults} == {tar.name}
    assert any(fault.check == "manifest" for fault in faults)
