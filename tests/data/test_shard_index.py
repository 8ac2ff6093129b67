"""Tars that others wrote: indexed as they are, read by training and by WebDataset alike, or refused
with the way out."""

import gzip
import io
import json
import subprocess
import tarfile

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_iterator

from rba.batch import Batch, Mode
from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.mode_stream import ModeStream
from rba.data.order import SampleOrder
from rba.data.sample import RecordError, decode_record
from rba.data.shard_adoption import adopt_tars, ignored_members, prepare_adoption
from rba.data.shard_check import check_shard, shard_tasks
from rba.data.shard_index import IndexTask, find_tars, index_tar, require_one_kind
from rba.data.shard_listing import list_shards
from rba.data.shard_scan import TarScan
from rba.data.shards import ShardSet
from rba.data.sources import AlignmentSource
from rba.errors import InputError


def write_tar(path, members, tar_format=tarfile.USTAR_FORMAT, mode="w", **info_fields):
    """Write (name, bytes) members; None makes a directory."""
    with tarfile.open(path, mode, format=tar_format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            for field, value in info_fields.items():
                setattr(info, field, value)
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def index(folder, kind=None, out=None, overwrite=False):
    tars = find_tars(str(folder))
    prepare_adoption(tars, out or folder, overwrite=overwrite)
    indices = [index_tar(IndexTask(path=path, kind=kind)) for path in tars]
    assert [i.refusal for i in indices] == [None] * len(tars)
    require_one_kind(indices)
    adopt_tars(indices, out or folder)
    return indices


def webdatasets_samples(path):
    """Key and members of each sample, as WebDataset's own parts find them."""
    with open(path, "rb") as stream:
        files = ({**file, "__url__": ""} for file in tar_file_iterator(stream))
        return [
            (sample.pop("__key__"), {k: v for k, v in sample.items() if k != "__url__"})
            for sample in group_by_keys(files)
        ]


def refusal(path, kind=None):
    return index_tar(IndexTask(path=path, kind=kind)).refusal


@pytest.fixture
def photo(make):
    """JPEG bytes of photos by number."""
    return lambda number: make.alignment_record(number).encode()["jpg"]


@pytest.fixture
def foreign(photo, tmp_path):
    """Two tars as GNU tar writes a folder: dotted directories, captions and classes beside."""
    folder = tmp_path / "others"
    folder.mkdir()
    for shard in range(2):
        members = [("./", None), ("./set/", None)]
        for number in range(4):
            key = f"./set/{shard}{number:03d}"
            members += [
                (f"{key}.JPG", photo(4 * shard + number)),
                (f"{key}.cls", b"3"),
                (f"{key}.txt", "ein schönes Bild".encode()),
            ]
        write_tar(folder / f"{shard:05d}.tar", members, tarfile.GNU_FORMAT)
    return folder


# WebDataset 1.0 leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_foreign_tars_are_read_by_us_and_by_webdataset(foreign, photo):
    before = {path: path.read_bytes() for path in foreign.glob("*.tar")}
    indices = index(foreign)
    assert {path: path.read_bytes() for path in foreign.glob("*.tar")} == before
    assert ignored_members(indices) == {"cls": 8, "txt": 8}
    shards = ShardSet.open(foreign, Mode.ALIGNMENT)
    ours = [shards.read(shard, index) for shard in range(2) for index in range(4)]
    pattern = f"{foreign}/{{00000..00001}}.tar"
    theirs = list(webdataset.WebDataset(pattern, shardshuffle=False))
    assert [key for key, _ in ours] == [sample["__key__"] for sample in theirs]
    assert [members["jpg"] for _, members in ours] == [sample["jpg"] for sample in theirs]
    for number, (key, members) in enumerate(ours):
        assert members == {"jpg": photo(number), "json": b"{}"}
        assert decode_record(Mode.ALIGNMENT, key, members).metadata == {}


def test_training_runs_on_foreign_tars(foreign, recipe):
    index(foreign)
    source = AlignmentSource(shards=str(foreign))
    shards = ShardSet.open(source.shards, Mode.ALIGNMENT)
    order = SampleOrder(0, Mode.ALIGNMENT, shards.sizes, source.shuffle_window)
    stream = ModeStream(shards, order, AlignmentExamples(AlignmentSettings(), recipe))
    batch = Batch.collate(Mode.ALIGNMENT, [stream.example(position) for position in range(16)])
    assert len(batch) == 16
    assert len(set(batch.sample_ids)) == 8
    assert all(name.startswith("others/0000") for name in batch.sample_ids)


def test_the_check_knows_foreign_sets(foreign):
    index(foreign)
    listing = list_shards(str(foreign))
    assert listing.ignored == {"cls", "txt"}
    assert [result.faults for result in map(check_shard, shard_tasks(listing))] == [[], []]
    with tarfile.open(foreign / "00000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("./set/0003.new"))
    faults = [fault for task in shard_tasks(listing) for fault in check_shard(task).faults]
    assert any("member 'new' is foreign" in fault.reason for fault in faults)


def test_links_to_tars_that_lie_elsewhere(foreign, tmp_path):
    out = tmp_path / "indexed"
    index(foreign, out=out)
    assert sorted(path.name for path in foreign.iterdir()) == ["00000.tar", "00001.tar"]
    shards = ShardSet.open(out)
    assert len(shards) == 8
    assert shards.paths() == {str(path.resolve()) for path in foreign.glob("*.tar")}
    index(foreign, out=out, overwrite=True)
    (out / "00000.tar").unlink()
    (out / "00000.tar").write_bytes(b"")
    with pytest.raises(InputError, match="another tar"):
        index(foreign, out=out, overwrite=True)


def test_a_manifest_is_replaced_only_when_asked(foreign):
    index(foreign)
    with pytest.raises(InputError, match="overwrite=true"):
        index(foreign)
    assert len(ShardSet.open(foreign)) == 8
    index(foreign, overwrite=True)


def test_pairs_are_known_as_pairs(make, tmp_path):
    members = []
    for number in range(3):
        record = make.refinement_record(number)
        members += [(f"{record.key}.{name}", data) for name, data in record.encode().items()]
    write_tar(tmp_path / "a.tar", members)
    index(tmp_path)
    shards = ShardSet.open(tmp_path, Mode.REFINEMENT)
    key, read = shards.read(0, 2)
    assert decode_record(Mode.REFINEMENT, key, read).matches is not None
    assert "'jpg' is missing" in refusal(tmp_path / "a.tar", Mode.ALIGNMENT)


def test_our_own_shards_get_the_manifest_they_had(alignment_folder, tmp_path):
    index(alignment_folder, out=tmp_path / "again")
    ours = json.loads((alignment_folder / "manifest.json").read_text())
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert again["shards"] == ours["shards"]
    assert again["ignored_members"] == []


def test_pax_headers_of_webdatasets_own_writer(photo, tmp_path):
    """Its default time stamps are fractions, so that every member has an extended header."""
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as writer:
        for number in range(3):
            writer.write({"__key__": f"p{number}", "jpg": photo(number), "json": b"{}"})
    long = "folder/" * 20 + "schöne Tasse"
    write_tar(tmp_path / "b.tar", [(f"{long}.jpg", photo(3))], tarfile.PAX_FORMAT, mtime=1.5)
    index(tmp_path)
    shards = ShardSet.open(tmp_path)
    assert [shards.read(0, index)[0] for index in range(3)] == ["p0", "p1", "p2"]
    assert shards.read(1, 0) == (long, {"jpg": photo(3), "json": b"{}"})


REFUSED = {
    "pickle": ([("a.jpg", 0), ("a.pkl", b"")], r"'pkl' is a pickle"),
    "packed pickle": ([("a.jpg", 0), ("a.pth.gz", b"")], r"'pth\.gz' is a pickle"),
    "apart": ([("a.jpg", 0), ("b.jpg", 1), ("a.json", b"{}")], r"sample 'a'.*--sort=name"),
    "twice": ([("a.jpg", 0), ("a.jpg", 0)], r"'jpg' is there twice"),
    "jpeg": ([("a.jpeg", 0)], r"records are read from jpg, not from jpeg.*build_alignment"),
    "webp": ([("a.webp", b"")], r"not from webp"),
    "no picture": ([("a.txt", b"")], r"'jpg' is missing, there are \['txt'\]"),
    "no JPEG": ([("a.jpg", b"\x89PNG")], r"not a whole JPEG"),
    "JSON list": ([("a.jpg", 0), ("a.json", b"[]")], r"not an object"),
    "nothing": ([("README", b"")], r"no sample in it"),
    "half a pair": ([("a.target.jpg", 0)], r"'reference\.jpg' is missing"),
}


@pytest.mark.parametrize("planted", REFUSED.values(), ids=list(REFUSED))
def test_what_training_could_not_read_is_refused(photo, tmp_path, planted):
    members, reason = planted
    filled = [(name, photo(data) if isinstance(data, int) else data) for name, data in members]
    path = write_tar(tmp_path / "a.tar", filled)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(refusal(path))


def test_links_within_a_tar_are_refused(photo, tmp_path):
    with tarfile.open(write_tar(tmp_path / "a.tar", [("a.jpg", photo(0))]), "a") as tar:
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    assert "is a link" in refusal(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "plain"), [("a.tar.gz", "a.tar"), ("a.tgz", "a.tar"), ("a.tar", "plain-a.tar")]
)
def test_compressed_tars_come_with_the_command_that_unpacks_them(photo, tmp_path, name, plain):
    folder = tmp_path / "my tars"
    folder.mkdir()
    write_tar(tmp_path / "x.tar", [("a.jpg", photo(0))])
    (folder / name).write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    assert [path.name for path in find_tars(str(folder))] == [name]
    said = refusal(folder / name)
    assert said.startswith("compressed with gzip")
    subprocess.run(said.split("offset: ")[1], shell=True, check=True)
    assert (folder / plain).read_bytes() == (tmp_path / "x.tar").read_bytes()
    assert refusal(folder / plain) is None


def test_the_command_that_sorts_a_tar_works(photo, tmp_path):
    path = write_tar(
        tmp_path / "a.tar", [("a.jpg", photo(0)), ("b.jpg", photo(1)), ("a.json", b"{}")]
    )
    subprocess.run(refusal(path).split("sorted: ")[1], shell=True, check=True, cwd=tmp_path)
    assert refusal(tmp_path / "sorted-a.tar") is None


def test_a_tar_cut_short_is_refused(photo, tmp_path):
    path = write_tar(tmp_path / "a.tar", [(f"{n}.jpg", photo(n)) for n in range(4)])
    path.write_bytes(path.read_bytes()[:6000])
    assert "cut short" in refusal(path)


def test_what_cannot_be_opened_is_refused(tmp_path):
    (tmp_path / "a.tar").mkdir()
    (tmp_path / "b.tar").symlink_to("nowhere")
    for name in ("a.tar", "b.tar"):
        assert "cannot be read" in refusal(tmp_path / name)


def test_kinds_may_not_be_mixed(photo, tmp_path):
    write_tar(tmp_path / "a.tar", [("a.jpg", photo(0))])
    write_tar(tmp_path / "b.tar", [("a.target.jpg", photo(0)), ("a.reference.jpg", photo(1))])
    with pytest.raises(InputError, match=r"a\.tar holds alignment samples, b\.tar refinement"):
        index(tmp_path)


def test_nothing_to_index(tmp_path):
    for pattern in (tmp_path, tmp_path / "gone", f"{tmp_path}/*.tar", "s3://bucket/set"):
        with pytest.raises(InputError):
            find_tars(str(pattern))


NAMES = st.sampled_from(["a", "b", "c d", "ü", "x/a", "./b", "x/y.z/a", "Ä" * 60])
SUFFIXES = st.sampled_from(["jpg", "JSON", "mask.png", "txt", "a.b.c"])


@settings(max_examples=40)
@given(
    members=st.lists(st.tuples(NAMES, SUFFIXES, st.binary(max_size=1500)), max_size=12),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_the_scan_agrees_with_webdataset_on_any_tar(tmp_path_factory, members, tar_format):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    named = dict.fromkeys((f"{name}.{suffix}" for name, suffix, _ in members), b"")
    named |= {f"{name}.{suffix}": data for name, suffix, data in members}
    write_tar(path, list(named.items()), tar_format)
    with open(path, "rb") as stream:
        scan = TarScan(stream)
        ours = list(scan)
    found = webdatasets_samples(path)
    assert [(sample.key, sample.members) for sample in ours] == found
    assert scan.size == path.stat().st_size
    apart = len(found) - len({key for key, _ in found})
    assert len(scan.problems) == apart
    data = path.read_bytes()
    for sample in ours:  # each range is a tar block by itself
        with tarfile.open(fileobj=io.BytesIO(data[sample.start : sample.end])) as tar:
            blocks = [tar.extractfile(info).read() for info in tar]
        assert blocks == list(sample.members.values())


def test_a_foreign_json_of_another_schema_is_a_record_error(photo):
    with pytest.raises(RecordError, match="schema"):
        decode_record(Mode.ALIGNMENT, "a", {"jpg": photo(0), "json": b'{"schema": "x"}'})


def test_offsets_are_what_the_index_file_holds(foreign):
    (first, _) = index(foreign)
    np.testing.assert_array_equal(np.load(foreign / "00000.index.npy"), first.offsets)
    assert first.offsets.dtype == np.uint64
