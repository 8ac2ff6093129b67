import json
import pickle
import shutil

import pytest

from rba.batch import Mode
from rba.data import shards as shards_module
from rba.data.sample import RecordError
from rba.data.shards import ShardSet
from rba.errors import InputError


@pytest.fixture
def folder(alignment_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(alignment_folder, tmp_path / "set")


def all_samples(shards):
    return [
        shards.read(number, index)
        for number, size in enumerate(shards.sizes)
        for index in range(size)
    ]


def test_every_sample_is_read_at_its_offset(make, alignment_folder):
    shards = ShardSet.open(alignment_folder, Mode.ALIGNMENT)
    assert shards.sizes == (5, 5, 5, 5, 3)
    assert len(shards) == 23
    for number, (key, members) in enumerate(all_samples(shards)):
        record = make.alignment_record(number)
        assert (key, members) == (record.key, record.encode())
    assert shards.sample_id(4, "0022") == f"{alignment_folder.name}/alignment-000004/0022"


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("", 23), ("manifest.json", 23), ("*.tar", 23), ("alignment-{000001..000002}.tar", 10),
     ("alignment-00000[34].tar", 8), ("alignment-000004.tar", 3)],
)  # fmt: skip
def test_folders_manifests_and_patterns(alignment_folder, pattern, count):
    path = f"{alignment_folder}/{pattern}" if pattern else alignment_folder
    assert len(ShardSet.open(path)) == count


def test_few_shards_stay_open(alignment_folder, monkeypatch):
    monkeypatch.setattr(shards_module, "_OPEN_SHARDS", 2)
    shards = ShardSet.open(alignment_folder)
    expected = [key for key, _ in all_samples(shards)]
    assert len(shards._open) == 2
    assert [key for key, _ in all_samples(shards)] == expected


def test_a_set_travels_to_another_process(alignment_folder):
    shards = ShardSet.open(alignment_folder)
    first = shards.read(0, 0)
    assert pickle.loads(pickle.dumps(shards)).read(0, 0) == first


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="no shard matches"):
        ShardSet.open(f"{tmp_path}/*.tar")
    with pytest.raises(InputError, match=r"gone\.tar does not exist"):
        ShardSet.open(tmp_path / "gone.tar")
    with pytest.raises(InputError, match="build_alignment_shards"):
        ShardSet.open(tmp_path)
    with pytest.raises(InputError, match=r"manifest\.json does not exist"):
        ShardSet.open(tmp_path / "manifest.json")


def test_wrong_kind_names_the_tool(alignment_folder):
    with pytest.raises(InputError, match=r"holds alignment shards.*build_refinement_shards"):
        ShardSet.open(alignment_folder, Mode.REFINEMENT)


def test_truncated_tar_names_both_sizes(folder):
    tar = folder / "alignment-000001.tar"
    size = tar.stat().st_size
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(InputError, match=f"has {size - 512} bytes, its manifest says {size}"):
        ShardSet.open(folder)
    assert len(ShardSet.open(folder / "alignment-000000.tar")) == 5


def test_missing_tar_and_foreign_tar(folder):
    (folder / "alignment-000001.tar").rename(folder / "other.tar")
    with pytest.raises(InputError, match=r"alignment-000001\.tar is listed"):
        ShardSet.open(folder)
    with pytest.raises(InputError, match=r"does not list other\.tar"):
        ShardSet.open(folder / "other.tar")


BAD_MANIFESTS = {
    "not JSON": "{",
    "a list": "[]",
    "kind": '{"schema_version": 1, "kind": "x", "shards": []}',
    "schema": '{"schema_version": 9, "kind": "alignment", "shards": []}',
    "entry": '{"schema_version": 1, "kind": "alignment", "shards": [{}]}',
    "no shard": '{"schema_version": 1, "kind": "alignment", "shards": []}',
}


@pytest.mark.parametrize("text", BAD_MANIFESTS.values(), ids=list(BAD_MANIFESTS))
def test_bad_manifests_are_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError):
        ShardSet.open(folder)


def test_an_index_of_another_build_is_a_fault_of_its_shard(folder):
    shutil.copy(folder / "alignment-000000.index.npy", folder / "alignment-000001.index.npy")
    shards = ShardSet.open(folder)
    assert shards.read(0, 4)[0] == "0004"
    with pytest.raises(RecordError, match="not the one that the manifest names"):
        shards.read(1, 0)


def test_damaged_block_is_a_record_error(folder):
    tar = folder / "alignment-000000.tar"
    data = bytearray(tar.read_bytes())
    data[100:200] = b"\xff" * 100  # the header of the first sample's first member
    tar.write_bytes(bytes(data))
    shards = ShardSet.open(folder)
    with pytest.raises(RecordError):
        shards.read(0, 0)
    assert shards.read(0, 1)[0] == "0001"


def test_manifest_is_plain_json(alignment_folder):
    assert json.loads((alignment_folder / "manifest.json").read_text())["settings"] == {
        "tool": "test"
    }
