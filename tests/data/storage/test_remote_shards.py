"""Shards behind URLs are the shards of a local folder: patterns, refusals, samples."""

import importlib.util
import pickle
import re

import fsspec
import pytest

from rba.batch import Mode
from rba.data.shards import ShardSet
from rba.data.storage import download
from rba.errors import InputError

KEYS = [f"{number:04d}" for number in range(23)]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("", 23), ("manifest.json", 23), ("*.tar", 23), ("alignment-{000001..000002}.tar", 10),
     ("alignment-00000[34].tar", 8), ("alignment-000004.tar", 3),
     ("alignment-00000{0,4}.tar", 8)],
)  # fmt: skip
def test_folders_manifests_and_patterns(remote, pattern, count):
    assert len(remote(pattern)) == count


def test_samples_are_those_of_the_local_folder(server, remote):
    local, far = ShardSet.open(server.folder), remote()
    for number, size in enumerate(local.sizes):
        for index in range(size):
            assert far.read(number, index) == local.read(number, index)
    assert far.sample_id(4, "0022") == local.sample_id(4, "0022") == "photos/alignment-000004/0022"


def test_memory_and_file_urls(server, settings, all_keys):
    memory = fsspec.filesystem("memory")
    for path in server.folder.iterdir():
        memory.pipe_file(f"/lab/photos/{path.name}", path.read_bytes())
    try:
        shards = ShardSet.open("memory://lab/photos", Mode.ALIGNMENT, settings())
        assert all_keys(shards) == KEYS
        memory.rm_file("/lab/photos/alignment-000001.tar")
        with pytest.raises(InputError, match=r"alignment-000001\.tar is listed in the manifest"):
            ShardSet.open("memory://lab/photos", storage=settings())
        with pytest.raises(InputError, match=r"has no manifest\.json"):
            ShardSet.open("memory://lab/none", storage=settings())
    finally:
        memory.rm("/lab", recursive=True)
    assert all_keys(ShardSet.open(f"file://{server.folder}/*.tar")) == KEYS


def test_a_set_travels_to_another_process(remote, all_keys):
    shards = remote()
    shards.will_need((0, 1))
    shards.read(0, 0)
    assert all_keys(pickle.loads(pickle.dumps(shards))) == KEYS


def test_a_server_without_ranges_sends_each_file_once(server, remote, all_keys, monkeypatch):
    monkeypatch.setattr(download, "_PIECE", 4096)
    server.ranges = False
    assert all_keys(remote()) == KEYS
    asked = [name for method, name, _ in server.requests if method == "GET"]
    assert len(asked) == len(set(asked)) == 11


REFUSED = [
    ("alignment-{000003..000007}.tar", r"does not list alignment-000005\.tar"),
    ("other-*.tar", "no shard matches .*the manifest lists 5"),
    ("alignment-000000.tar.gz", r"gzip -dc alignment-000000\.tar\.gz > alignment-000000\.tar"),
    ("photos.tgz", r"gzip -dc photos\.tgz > photos\.tar; then index it"),
    ("alignment-000000.tar?token=x", "query"),
    ("{a,b}/x.tar", "spans folders"),
    ("*/x.tar", "spans folders"),
    ("none", r"has no manifest\.json"),
]


@pytest.mark.parametrize(("pattern", "message"), REFUSED)
def test_patterns_that_cannot_be_read_are_refused(remote, pattern, message):
    with pytest.raises(InputError, match=message):
        remote(pattern)


@pytest.mark.parametrize(
    ("url", "message"),
    [("s3://bucket/set", "pip install s3fs"), ("gs://bucket/set", "pip install gcsfs"),
     ("nofs://a/b", "nofs"), ("pipe:cat x.tar", "is a pipe"),
     ("http://127.0.0.1:9/set", "cannot be read")],
)  # fmt: skip
def test_file_systems_that_cannot_be_opened_are_refused(settings, url, message):
    package = re.search("s3fs|gcsfs", message)
    if package and importlib.util.find_spec(package[0]):
        pytest.skip(f"{package[0]} is installed")
    with pytest.raises(InputError, match=message):
        ShardSet.open(url, storage=settings(retry_seconds=0.3))


def test_local_compressed_tars_are_refused_with_their_command(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b")
    for pattern in ("x.tar.gz", "*.tar.gz", ""):
        with pytest.raises(InputError, match=r"gzip -dc \S+/x\.tar\.gz > \S+/x\.tar; then index"):
            ShardSet.open(tmp_path / pattern)


def test_sizes_that_disagree_with_the_manifest_are_refused(server, remote):
    tar = server.folder / "alignment-000002.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(InputError, match=r"alignment-000002\.tar has \d+ bytes, its manifest says"):
        remote()


def test_a_manifest_that_breaks_is_asked_for_again(server, remote):
    answers = [503, "break", None]
    server.faults = lambda name, span: answers.pop(0)
    assert len(remote()) == 23
    assert answers == []
