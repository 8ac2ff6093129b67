"""Parts built by separate jobs, merged: the bytes of one build."""

import json
import shutil

import fsspec
import pytest

from rba.data.build import build_shards, merge_parts
from rba.errors import InputError

# Motives shared across parts, in whatever parts the shuffle puts them.
TWINS = {n: n % 11 for n in range(60, 80)}


@pytest.fixture
def build_part(made, tmp_path):
    def build(part, parts=8, out=tmp_path / "parts", **changes):
        job = made.job(part=part, parts=parts, **changes)
        lost = [("lost", "x.jpg")]
        return build_shards(made.numbers(100), made.loader(TWINS), str(out), job, lost)

    return build


@pytest.fixture
def whole(made, tmp_path):
    folder = tmp_path / "whole"
    lost = [("lost", "x.jpg")]
    build_shards(made.numbers(100), made.loader(TWINS), str(folder), made.job(), lost)
    return folder


def test_eight_parts_merged_are_one_build(made, tmp_path, build_part, whole):
    out = tmp_path / "parts"
    kept = sum(build_part(part).kept for part in (5, 2, 7, 0, 1, 3, 6, 4))
    report = merge_parts(str(out))
    assert report.kept < kept, "duplicates across parts"
    assert made.shards(out) == made.shards(whole)
    reports = [json.loads((f / "build_report.json").read_text()) for f in (out, whole)]
    for name in ("kept", "dropped", "bytes"):
        assert reports[0][name] == reports[1][name]
    assert (out / "part-003-of-008").is_dir()
    with pytest.raises(InputError, match="already holds"):
        merge_parts(str(out))
    merge_parts(str(out), overwrite=True, remove_parts=True)
    assert made.shards(out) == made.shards(whole)
    assert not list(out.glob("part-*"))


def test_parts_of_another_file_system(made, tmp_path, build_part, whole):
    out = f"memory://{tmp_path.name}/parts"
    for part in range(3):
        build_part(part, 3, out)
    merge_parts(out)
    files = fsspec.filesystem("memory")
    expected = made.shards(whole)
    assert {name: files.cat_file(f"{out}/{name}") for name in expected} == expected


def test_a_finished_part_is_left_as_it_is(tmp_path, build_part, capsys):
    build_part(1)
    tar = next((tmp_path / "parts" / "part-001-of-008").glob("*.tar"))
    before = tar.stat().st_mtime_ns
    build_part(1)
    assert "is finished already" in capsys.readouterr().out
    assert tar.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="samples_per_shard 4, now 9"):
        build_part(1, samples_per_shard=9)


def test_parts_that_do_not_belong_together_are_refused(tmp_path, build_part):
    out = tmp_path / "parts"
    out.mkdir()
    with pytest.raises(InputError, match="no part-000-of"):
        merge_parts(str(out))
    for part in range(2):
        build_part(part, 3)
    with pytest.raises(InputError, match=r"lacks part-002-of-003.*run those jobs again"):
        merge_parts(str(out))
    build_part(2, 3, seed=1)
    with pytest.raises(InputError, match="part-002-of-003 was built with other settings"):
        merge_parts(str(out))
    build_part(0, 2)
    with pytest.raises(InputError, match="parts of 2 builds"):
        merge_parts(str(out))


def test_a_part_may_keep_nothing(made, tmp_path):
    for part in range(3):
        job = made.job(part=part, parts=3, seed=None)
        build_shards([("a", 3), ("b", 3), ("c", 1)], made.loader(), str(tmp_path), job)
    assert merge_parts(str(tmp_path)).kept == 1
    shutil.rmtree(tmp_path / "part-002-of-003")
    with pytest.raises(InputError, match="lacks part-002"):
        merge_parts(str(tmp_path), overwrite=True)
