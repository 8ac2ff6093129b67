"""The tools that check, preview, index and describe shards, as typed."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rba.batch import Mode
from rba.data.shards import ShardSet
from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
CHECK, PREVIEW = "check_shards", "preview_shards"
INDEX, DESCRIBE = "index_shards", "describe_shards"
TOOLS = (CHECK, PREVIEW, INDEX, DESCRIBE)

Run = Callable[..., str]


@pytest.fixture
def usual(alignment_shards: Path, tmp_path: Path) -> dict[str, list[str]]:
    """A command of each tool that works."""
    shards = f"shards={alignment_shards}"
    return {
        CHECK: [shards, "workers=1"],
        PREVIEW: [shards, f"out={tmp_path}/out.png", "count=2", "side=64"],
        INDEX: [shards, f"out={tmp_path}/out", "workers=1"],
        DESCRIBE: [shards, f"out={tmp_path}/out", "count=2"],
    }


@pytest.fixture
def foreign(alignment_shards: Path, tmp_path: Path) -> Path:
    """Our tars with a caption in each sample, and no index and no manifest."""
    folder = tmp_path / "others"
    folder.mkdir()
    for path in sorted(alignment_shards.glob("*.tar")):
        with tarfile.open(path) as tar, tarfile.open(folder / path.name, "w") as copy:
            for info in tar:
                copy.addfile(info, tar.extractfile(info))
                if info.name.endswith(".json"):
                    caption = tarfile.TarInfo(info.name.replace(".json", ".txt"))
                    caption.size = 5
                    copy.addfile(caption, io.BytesIO(b"a cup"))
    return folder


def test_a_sound_set_passes(
    run: Run, alignment_shards: Path, refinement_shards: Path, tmp_path: Path
) -> None:
    printed = run(CHECK, f"shards={alignment_shards}", f"json={tmp_path}/new/a.json", "workers=1")
    assert "3 shards, 20 samples" in printed
    assert "no fault" in printed
    facts = json.loads((tmp_path / "new" / "a.json").read_text())
    assert (facts["tars"], facts["samples"], facts["faults"]) == (3, 20, [])
    assert "no fault" in run(CHECK, f"shards={refinement_shards}/manifest.json", "workers=1")


def test_a_broken_set_ends_with_status_1(
    ended: Callable[..., tuple[object, str, str]], alignment_shards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(alignment_shards, tmp_path / "set")
    (folder / "alignment-000000.tar").unlink()
    data = bytearray((folder / "alignment-000001.tar").read_bytes())
    data[:100] = b"\xff" * 100  # the first header
    (folder / "alignment-000001.tar").write_bytes(data)
    report = tmp_path / "faults.json"
    status, printed, _ = ended(CHECK, f"shards={folder}", f"json={report}", "shown=2", "workers=1")
    assert status == 1
    assert "alignment-000000.tar: listed in the manifest but missing" in printed
    facts = json.loads(report.read_text())
    assert f"... {len(facts['faults']) - 2} more; json=PATH writes all" in printed
    assert sum(facts["faults_by_check"].values()) == len(facts["faults"]) > 2
    where = {(fault["shard"], fault["key"]) for fault in facts["faults"]}
    assert ("alignment-000001.tar", "photo008") in where
    assert {shard for shard, _ in where} == {"alignment-000000.tar", "alignment-000001.tar"}


def test_repeats_may_be_notes(
    run: Run,
    ended: Callable[..., tuple[object, str, str]],
    alignment_shards: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.tar", "b.tar"):
        shutil.copy(alignment_shards / "alignment-000002.tar", folder / name)
    run(INDEX, f"shards={folder}", "workers=1")
    status, printed, _ = ended(CHECK, f"shards={folder}", "workers=1")
    assert status == 1
    assert "b.tar photo016: has the very pictures of a.tar photo016" in printed
    report = tmp_path / "notes.json"
    printed = run(CHECK, f"shards={folder}", "repeats=note", "workers=1", f"json={report}")
    assert "no fault" in printed
    assert "b.tar photo016: has the key of a.tar photo016" in printed
    facts = json.loads(report.read_text())
    assert (len(facts["faults"]), len(facts["notes"])) == (0, 8)


def test_foreign_tars_become_a_set(run: Run, foreign: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in foreign.iterdir()}
    printed = run(INDEX, f"shards={foreign}/*.tar", f"out={tmp_path}/set", "workers=1")
    assert "3 tars, 20 alignment samples" in printed
    assert "ignored: member 'txt' of 20 samples" in printed
    assert {path: path.read_bytes() for path in foreign.iterdir()} == before
    assert len(ShardSet.open(tmp_path / "set", Mode.ALIGNMENT)) == 20
    assert "no fault" in run(CHECK, f"shards={tmp_path}/set", "workers=1")


def test_refused_tars_are_left_out_only_when_asked(
    run: Run, ended: Callable[..., tuple[object, str, str]], foreign: Path
) -> None:
    first = foreign / "alignment-000000.tar"
    (foreign / "alignment-000000.tar.gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    status, printed, error = ended(INDEX, f"shards={foreign}", "workers=1")
    assert status == 2
    assert "alignment-000000.tar.gz: compressed with gzip" in printed
    assert "1 of 3 tars are refused, nothing is written" in error
    assert "skip_refused=true" in error
    assert sorted(path.suffix for path in foreign.iterdir()) == [".gz", ".tar", ".tar"]
    printed = run(INDEX, f"shards={foreign}", "workers=1", "skip_refused=true")
    assert "left out: 1 tars" in printed
    assert len(ShardSet.open(foreign)) == 12


def test_previews_of_both_kinds(
    run: Run, alignment_shards: Path, refinement_shards: Path, tmp_path: Path
) -> None:
    for folder in (alignment_shards, refinement_shards):
        out = tmp_path / "new" / f"{folder.name}.png"
        printed = run(PREVIEW, f"shards={folder}", f"out={out}", "count=3", "side=64", "columns=1")
        with Image.open(out) as sheet:
            assert f"{sheet.width}x{sheet.height} pixels" in printed


def test_a_description_of_pairs(run: Run, refinement_shards: Path, tmp_path: Path) -> None:
    printed = run(DESCRIBE, f"shards={refinement_shards}", f"out={tmp_path}/out", "count=0")
    assert "12 of 12 refinement records" in printed
    facts = json.loads((tmp_path / "out" / "description.json").read_text())
    assert facts["quantities"]["longest_side"]["q50"] == 96
    assert facts["quantities"]["matches"]["q50"] == 12 * 11
    assert (tmp_path / "out" / "description.png").stat().st_size > 0


@pytest.mark.parametrize("name", TOOLS)
def test_what_must_be_set_is_named(refusal: Run, name: str) -> None:
    assert "shards=VALUE" in refusal(name)


BAD_SETTINGS = [
    *[(name, "no_such_key=1", "no_such_key") for name in TOOLS],
    *[(name, "shards=nowhere", "nowhere") for name in TOOLS],
    *[(name, "workers=-1", "workers=-1") for name in (CHECK, INDEX)],
    *[(name, "overwrite=5", "overwrite=5 must be true") for name in (INDEX, DESCRIBE)],
    *[(name, "count=-1", "count=-1") for name in (PREVIEW, DESCRIBE)],
    *[(name, "profile=nowhere", "'nowhere'") for name in (PREVIEW, DESCRIBE)],
    *[(name, "shards=nofs://a/b", "nofs") for name in (CHECK, PREVIEW, DESCRIBE)],
    (INDEX, "shards=s3://a/b", "is remote; copy"),
    (CHECK, "repeats=maybe", "repeats=maybe"),
    (CHECK, "shown=-1", "shown=-1"),
    (PREVIEW, "out=a.jpg", "ends in .png"),
    (PREVIEW, "side=8", "side=8"),
    (PREVIEW, "points=x", "points=x"),
    (INDEX, "kind=both", "kind=both"),
    (INDEX, "kind=refinement", r"'target.jpg' is missing"),
]


@pytest.mark.parametrize(("name", "setting", "named"), BAD_SETTINGS)
def test_bad_settings_are_one_line(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, name: str, setting: str, named: str
) -> None:
    key = setting.partition("=")[0]
    others = [given for given in usual[name] if given.partition("=")[0] != key]
    assert named in refusal(name, *others, setting)
    left = [p for p in tmp_path.rglob("*") if p.is_file() or p.is_symlink()]
    assert left == [], "nothing is written"


def test_results_are_not_replaced_by_mistake(
    run: Run, refusal: Run, usual: dict[str, list[str]]
) -> None:
    for name in (INDEX, DESCRIBE):
        run(name, *usual[name])
        assert "overwrite=true" in refusal(name, *usual[name])
        run(name, *usual[name], "overwrite=true")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_named_after_the_summary(
    ended: Callable[..., tuple[object, str, str]], usual: dict[str, list[str]]
) -> None:
    status, printed, error = ended(CHECK, *usual[CHECK], "json=/dev/full")
    assert "no fault" in printed
    assert (status, error) == (2, "error: /dev/full: No space left on device; give another path\n")


@pytest.mark.slow
def test_worker_processes_find_the_same(alignment_shards: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(alignment_shards, tmp_path / "set")
    data = (folder / "alignment-000001.tar").read_bytes()
    (folder / "alignment-000001.tar").write_bytes(data[:-3000])
    reports: list[object] = []
    for number in (1, 2):
        report = tmp_path / f"{number}.json"
        command = [sys.executable, str(ROOT / "data_tools" / "check_shards.py"), f"shards={folder}"]
        done = subprocess.run(
            [*command, f"workers={number}", f"json={report}"], check=False, capture_output=True
        )
        assert done.returncode == 1, done.stderr.decode()
        reports.append(json.loads(report.read_text())["faults"])
    assert reports[0] == reports[1] != []
