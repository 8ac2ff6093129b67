"""Local shards are read where they lie; what happens to them later ends no process."""

import shutil

import pytest

from rba.data.sample import RecordError
from rba.data.shards import ShardSet
from rba.data.storage.errors import StorageError
from rba.data.storage.settings import StorageSettings
from rba.errors import InputError


@pytest.fixture
def folder(alignment_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(alignment_folder, tmp_path / "set")


def test_a_tar_that_shrinks_under_the_reader_is_a_fault_of_its_samples(folder):
    shards = ShardSet.open(folder)
    assert shards.read(1, 0)[0] == "0005"
    with open(folder / "alignment-000001.tar", "r+b") as stream:
        stream.truncate(6000)
    with pytest.raises(RecordError, match=r"cut short \(to 6000 bytes\)"):
        shards.read(1, 4)
    assert shards.read(2, 0)[0] == "0010"


@pytest.mark.parametrize("name", ["alignment-000001.tar", "alignment-000001.index.npy"])
def test_a_shard_that_is_gone_is_a_fault_of_its_samples(folder, name):
    shards = ShardSet.open(folder)
    (folder / name).unlink()
    for index in range(2):
        with pytest.raises(RecordError, match=r"missing \(.*alignment-000001\.tar\)"):
            shards.read(1, index)


def test_a_folder_that_is_gone_is_waited_for(folder):
    shards = ShardSet.open(folder, storage=StorageSettings(retry_seconds=0.5))
    aside = folder.rename(folder.with_name("away"))
    with pytest.raises(StorageError, match=r"did not come for 0\.5 s"):
        shards.read(1, 0)
    aside.rename(folder)
    assert shards.read(1, 0)[0] == "0005"


def test_a_tar_that_may_not_be_read_is_refused_at_the_start(alignment_folder, as_nobody):
    public, run = as_nobody
    folder = shutil.copytree(alignment_folder, public / "set")
    folder.chmod(0o755)
    (folder / "alignment-000001.tar").chmod(0o000)
    with pytest.raises(InputError, match=r"alignment-000001\.tar cannot be read"):
        run(lambda: ShardSet.open(folder))
