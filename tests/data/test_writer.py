import hashlib
import json

import numpy as np
import pytest
import webdataset

from rba.batch import Mode
from rba.data.writer import ShardWriter
from rba.errors import InputError


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_input_gives_the_same_bytes(make, tmp_path):
    first = contents(make.shards(tmp_path / "a", Mode.REFINEMENT, 7, 3))
    second = contents(make.shards(tmp_path / "b", Mode.REFINEMENT, 7, 3))
    assert first == second
    assert sorted(first) == [
        "manifest.json",
        *(f"refinement-00000{i}{end}" for i in range(3) for end in (".index.npy", ".tar")),
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files open
def test_plain_webdataset_reads_the_shards(make, tmp_path):
    folder = make.shards(tmp_path, Mode.REFINEMENT, 7, 3)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{n:04d}" for n in range(7)]
    for number, sample in enumerate(samples):
        members = make.refinement_record(number).encode()
        assert {name: sample[name] for name in members} == members


def test_manifest_tells_the_truth(alignment_folder):
    manifest = json.loads((alignment_folder / "manifest.json").read_text())
    assert (manifest["schema_version"], manifest["kind"]) == (1, "alignment")
    assert [entry["samples"] for entry in manifest["shards"]] == [5, 5, 5, 5, 3]
    for entry in manifest["shards"]:
        data = (alignment_folder / entry["name"]).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        index = (alignment_folder / entry["name"]).with_suffix(".index.npy")
        assert entry["index_sha256"] == hashlib.sha256(index.read_bytes()).hexdigest()
        offsets = np.load(index)
        assert offsets.dtype == np.uint64
        assert offsets.shape == (entry["samples"], 2)
        np.testing.assert_array_equal(offsets[1:, 0], offsets[:-1, 1])  # adjacent


def test_an_interrupted_build_leaves_no_manifest_and_no_torn_shard(make, tmp_path):
    def build():
        with ShardWriter(tmp_path, kind=Mode.ALIGNMENT, samples_per_shard=2, settings={}) as writer:
            for number in range(5):
                if number == 3:
                    raise KeyboardInterrupt
                writer.write(str(number), make.alignment_record(number).encode())

    with pytest.raises(KeyboardInterrupt):
        build()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["alignment-000000.index.npy", "alignment-000000.tar"]


def test_existing_shards_are_replaced_only_when_told(make, tmp_path):
    make.shards(tmp_path, Mode.ALIGNMENT, 9, 2)
    options = {"kind": Mode.ALIGNMENT, "samples_per_shard": 2, "settings": {}}
    with pytest.raises(InputError, match="overwrite=true"):
        ShardWriter(tmp_path, **options)
    with ShardWriter(tmp_path, **options, overwrite=True) as writer:
        writer.write("a", make.alignment_record(0).encode())
    assert len(list(tmp_path.glob("*.tar"))) == 1


def test_no_sample_is_an_error_and_no_manifest(tmp_path):
    with (
        pytest.raises(InputError, match="no sample was kept"),
        ShardWriter(tmp_path, kind=Mode.ALIGNMENT, samples_per_shard=2, settings={}),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["a.b", "a/b", "a b", "ä", "", "x" * 90])
def test_keys_that_webdataset_would_split_are_refused(make, tmp_path, key):
    writer = ShardWriter(tmp_path, kind=Mode.ALIGNMENT, samples_per_shard=2, settings={})
    with pytest.raises(ValueError, match="key"):
        writer.write(key, make.alignment_record(0).encode())
