"""The real commands: workers, kills, jobs of a multirun. Whatever happens, the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "data_tools"
NUM_PHOTOS = 200
SETTINGS = ("shortest_side=16", "min_sharpness=0", "samples_per_shard=9")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """200 small photos in three folders, every tenth a copy of another, one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(NUM_PHOTOS):
        motive = number + 1 if number % 10 == 0 else number
        coarse = np.random.default_rng(motive).integers(0, 256, (8, 9, 3), np.uint8)
        picture = cv2.resize(coarse, (40, 36), interpolation=cv2.INTER_CUBIC)
        place = folder / "abc"[number % 3]
        place.mkdir(exist_ok=True)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95 if number % 20 else 80]
        cv2.imwrite(str(place / f"{number}.jpg"), picture, quality)
    (folder / "a" / "broken.jpg").write_bytes(b"no photo")
    return folder


def command(name, *settings):
    return [sys.executable, str(TOOLS / f"{name}.py"), *settings]


def run(name, *settings, cwd, **options):
    return subprocess.run(
        command(name, *settings), cwd=cwd, capture_output=True, text=True, check=True, **options
    )


def shards(folder):
    files = [*folder.glob("*.tar"), *folder.glob("*.npy"), folder / "manifest.json"]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The set that one process builds."""
    folder = tmp_path_factory.mktemp("whole")
    run("build_alignment_shards", f"images={photos}", "out=set", *SETTINGS, "workers=1", cwd=folder)
    return folder / "set"


@pytest.mark.slow
def test_workers_do_not_change_the_bytes(photos, whole, tmp_path):
    done = run(
        "build_alignment_shards", f"images={photos}", "out=set", *SETTINGS, "workers=3",
        cwd=tmp_path,
    )  # fmt: skip
    assert "with 3 workers" in done.stdout
    assert shards(tmp_path / "set") == shards(whole)
    report = json.loads((whole / "build_report.json").read_text())
    assert report["dropped"]["unreadable"] == ["a/broken.jpg"]
    assert len(report["dropped"]["near duplicate"]) == 10
    assert len(report["dropped"]["exact duplicate"]) == 10


@pytest.mark.slow
def test_a_build_killed_again_and_again_ends_with_the_same_bytes(photos, whole, tmp_path):
    out, kills = tmp_path / "set", 0
    settings = (f"images={photos}", f"out={out}", *SETTINGS, "workers=2")
    for wanted in (1, 4, 9, 15):
        process = subprocess.Popen(
            command("build_alignment_shards", *settings), cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and len(list(out.glob("*.tar"))) < wanted:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        assert not workers_left(process.pid), "workers leave when their parent is killed"
        for path in out.glob("*.tar"):
            assert path.read_bytes() == (whole / path.name).read_bytes()
    assert kills >= 2
    run("build_alignment_shards", *settings, cwd=tmp_path)
    assert shards(out) == shards(whole)
    assert not list(out.glob(".*"))


def workers_left(session):
    """Wait for what is left of a session, some seconds at most."""
    for _ in range(100):
        left = [pid for pid in os.listdir("/proc") if pid.isdigit() and in_session(pid, session)]
        if not left:
            return []
        time.sleep(0.1)
    return left


def in_session(pid, session):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[3]) == session


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_eight_jobs_of_a_multirun_merged_are_one_build(photos, whole, tmp_path, launcher):
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    jobs = ["--multirun", "parts=8", "part=range(0,8)", f"hydra/launcher={launcher}"]
    jobs += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    images = f"images={photos}"
    run("build_alignment_shards", *jobs, images, "out=set", *SETTINGS, "workers=1", cwd=tmp_path)
    assert len(list((tmp_path / "set").iterdir())) == 8
    run("merge_shards", "out=set", "remove_parts=true", cwd=tmp_path)
    assert shards(tmp_path / "set") == shards(whole)
    reports = [
        json.loads((folder / "build_report.json").read_text())
        for folder in (whole, tmp_path / "set")
    ]
    assert reports[0]["dropped"] == reports[1]["dropped"]


@pytest.mark.slow
def test_a_mistake_in_a_job_is_one_line(photos, tmp_path):
    jobs = ["--multirun", "parts=8", "part=7,8", f"images={photos}", "out=set", "workers=1"]
    done = subprocess.run(
        command("build_alignment_shards", *jobs), cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: part=8 parts=8; give parts >= 1")
    assert "Traceback" not in done.stderr + done.stdout
