"""The engine of all builders: order, resume, full disks, other file systems, reports."""

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rba.data.build import build_shards
from rba.data.shards import ShardSet
from rba.errors import InputError

TWINS = {5: 30, 8: 8, 41: 30, 12: 1}


@pytest.fixture
def whole(made, tmp_path):
    """The shards of 50 inputs, built in one go."""
    build_shards(made.numbers(50), made.loader(TWINS), str(tmp_path / "whole"), made.job())
    return made.shards(tmp_path / "whole")


@pytest.fixture
def expected(whole):
    return digest(whole)  # hypothesis would print the bytes


def digest(files):
    return {name: hashlib.sha256(data).hexdigest()[:8] for name, data in files.items()}


def test_a_build_keeps_what_passes_and_reports_the_rest(made, tmp_path, capsys):
    out = tmp_path / "out"
    report = build_shards(
        made.numbers(50), made.loader(TWINS), str(out), made.job(), [("lost", "x.jpg")]
    )
    seventh = [f"photo {n}.jpg" for n in range(50) if n % 7 == 3]
    assert sorted(report.dropped["seventh"]) == sorted(seventh)
    # Which of 5, 30 and 41 comes first is the shuffle's; 1 and 12 are a pair as well.
    assert len(report.dropped["exact duplicate"]) == 3
    assert report.kept == 50 - len(seventh) - 3 == len(ShardSet.open(out))
    written = json.loads((out / "build_report.json").read_text())
    assert written["dropped"]["lost"] == ["x.jpg"]
    assert written["bytes"] == sum(path.stat().st_size for path in out.glob("*.tar"))
    assert {"seconds", "inputs_per_second", "workers"} <= set(written)
    assert "seconds" not in (out / "manifest.json").read_text()
    table = capsys.readouterr().out
    assert "dropped: exact duplicate" in table
    assert "photo 10.jpg, photo 17.jpg" in table
    assert not (out / ".build").exists()


def test_keys_come_from_the_place_in_the_shuffle(made, tmp_path):
    build_shards(made.numbers(30), made.loader(), str(tmp_path), made.job())
    read = ShardSet.open(tmp_path)
    keys = [read.read(s, i)[0] for s, size in enumerate(read.sizes) for i in range(size)]
    assert keys == sorted(keys)
    places = [int(key[:6]) for key in keys]
    numbers = [int(key.split("-")[1]) for key in keys]
    assert numbers != sorted(numbers), "shuffled"
    left_out = set(range(30)) - set(places)
    assert len(left_out) == 4, "those that were dropped keep their places"


def test_shards_end_before_they_grow_beyond_their_bytes(made, tmp_path):
    job = made.job(bytes_per_shard=6000, samples_per_shard=100)
    build_shards(made.numbers(50), made.loader(), str(tmp_path), job)
    read = ShardSet.open(tmp_path)
    assert len(read.entries) > 5
    assert len(set(read.sizes)) > 1
    assert all(entry.bytes <= 6000 + 10240 for entry in read.entries), "and the tar's own end"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_a_stopped_build_goes_on_and_ends_with_the_same_bytes(made, expected, tmp_path, stops):
    out = Path(tempfile.mkdtemp(dir=tmp_path))
    calls = 0
    for stop in [*stops, -1]:
        loader = made.loader(TWINS, stop_at=stop)
        with contextlib.suppress(KeyboardInterrupt):
            build_shards(made.numbers(50), loader, str(out), made.job())
        calls += loader.calls
        assert not list(out.glob("*.partial"))
        if (out / "manifest.json").exists():
            break
    assert digest(made.shards(out)) == expected
    report = json.loads((out / "build_report.json").read_text())
    assert report["kept"] == 40
    assert sum(map(len, report["dropped"].values())) == 10
    assert calls <= 50 + len(stops) * 10, "finished shards are not built again"


def test_a_build_with_overwrite_goes_on_too(made, whole, tmp_path):
    out = str(tmp_path / "out")
    build_shards(made.numbers(9), made.loader(), out, made.job())
    again = made.job(overwrite=True)
    with contextlib.suppress(KeyboardInterrupt):
        build_shards(made.numbers(50), made.loader(TWINS, stop_at=30), out, again)
    loader = made.loader(TWINS)
    build_shards(made.numbers(50), loader, out, again)
    assert loader.calls < 40
    assert made.shards(tmp_path / "out") == whole


def test_other_settings_or_inputs_do_not_go_on(made, tmp_path):
    out = str(tmp_path)
    with contextlib.suppress(KeyboardInterrupt):
        build_shards(made.numbers(50), made.loader(stop_at=20), out, made.job())
    before = made.shards(tmp_path)
    with pytest.raises(InputError, match=r"samples_per_shard 4, now 5\).*overwrite=true"):
        build_shards(made.numbers(50), made.loader(), out, made.job(samples_per_shard=5))
    with pytest.raises(InputError, match=r"inputs 50 with sha256 .*, now 51 with sha256"):
        build_shards(made.numbers(51), made.loader(), out, made.job())
    assert made.shards(tmp_path) == before
    build_shards(made.numbers(51), made.loader(), out, made.job(overwrite=True))
    assert len(ShardSet.open(tmp_path)) == 44


def test_a_shard_that_went_missing_is_built_again(made, whole, tmp_path):
    out = tmp_path / "out"
    with contextlib.suppress(KeyboardInterrupt):
        build_shards(made.numbers(50), made.loader(TWINS, stop_at=40), str(out), made.job())
    (out / "alignment-000002.tar").unlink()
    build_shards(made.numbers(50), made.loader(TWINS), str(out), made.job())
    assert made.shards(out) == whole


def test_a_finished_set_is_refused_and_foreign_files_stay(made, tmp_path):
    out = str(tmp_path)
    (tmp_path / "photos.tar").write_bytes(b"mine")
    build_shards(made.numbers(9), made.loader(), out, made.job())
    with pytest.raises(InputError, match=r"already holds .*overwrite=true"):
        build_shards(made.numbers(9), made.loader(), out, made.job())
    build_shards(made.numbers(9), made.loader(), out, made.job(overwrite=True))
    assert (tmp_path / "photos.tar").read_bytes() == b"mine"


def test_nothing_kept_leaves_nothing(made, tmp_path):
    with pytest.raises(InputError, match="1 x seventh"):
        build_shards([("a", 3)], made.loader(), str(tmp_path), made.job())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fails_at", range(8))
def test_a_full_disk_is_named_and_the_build_goes_on_later(
    made, whole, tmp_path, monkeypatch, fails_at
):
    out, real, calls = tmp_path / "out", os.fsync, [0]

    def fsync(descriptor):
        calls[0] += 1
        if calls[0] > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match="out: the disk is full; free space"):
        build_shards(made.numbers(50), made.loader(TWINS), str(out), made.job())
    monkeypatch.setattr(os, "fsync", real)
    for name, data in made.shards(out).items():
        if name.endswith(".tar"):
            assert data == whole[name]
    build_shards(made.numbers(50), made.loader(TWINS), str(out), made.job())
    assert made.shards(out) == whole


def test_a_disk_that_is_really_full(made, whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(InputError, match="disk is full"):
            build_shards(made.numbers(50), made.loader(TWINS), str(disk), made.job())
        found = made.shards(disk)
        tars = [name for name in found if name.endswith(".tar")]
        assert tars
        assert "manifest.json" not in found
        assert not [name for name in found if name.endswith(".partial")]
        assert all(found[name] == whole[name] for name in tars)
        subprocess.run(["mount", "-o", "remount,size=900k", disk], check=True)
        build_shards(made.numbers(50), made.loader(TWINS), str(disk), made.job())
        assert made.shards(disk) == whole
    finally:
        subprocess.run(["umount", disk], check=True)


def test_shards_go_to_any_file_system(made, whole, tmp_path):
    files = fsspec.filesystem("memory")
    out = f"memory://{tmp_path.name}/set"
    with contextlib.suppress(KeyboardInterrupt):
        build_shards(made.numbers(50), made.loader(TWINS, stop_at=30), out, made.job())
    with pytest.raises(InputError, match="now 5"):
        build_shards(made.numbers(50), made.loader(), out, made.job(samples_per_shard=5))
    loader = made.loader(TWINS)
    build_shards(made.numbers(50), loader, out, made.job())
    assert loader.calls < 40, "it went on"
    names = [path.rsplit("/", 1)[-1] for path in files.ls(out, detail=False)]
    assert sorted(names) == sorted([*whole, "build_report.json"])
    assert {name: files.cat_file(f"{out}/{name}") for name in whole} == whole
    with pytest.raises(InputError, match="already holds"):
        build_shards(made.numbers(50), made.loader(), out, made.job())


def test_a_file_url_is_a_local_folder(made, whole, tmp_path):
    build_shards(made.numbers(50), made.loader(TWINS), f"file://{tmp_path}/url", made.job())
    assert made.shards(tmp_path / "url") == whole


def test_an_unknown_file_system_is_named(made):
    with pytest.raises(InputError, match="nowhere://x"):
        build_shards(made.numbers(9), made.loader(), "nowhere://x", made.job())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"samples_per_shard": 0}, "samples_per_shard=0"),
        ({"bytes_per_shard": -1}, "bytes_per_shard=-1"),
        ({"workers": -1}, "workers=-1"),
        ({"parts": 0}, "parts=0"),
        ({"part": 2, "parts": 2}, "part=2"),
        ({"near_distance": 40}, "near_distance=40"),
    ],
)
def test_numbers_out_of_range_are_named(made, changes, named):
    with pytest.raises(InputError, match=named):
        made.job(**changes)
