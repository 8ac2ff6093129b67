"""Bad samples and dead workers in real trainings: what is told and what is kept."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
SMALL = [
    "experiment=tiny",
    "global_batch=4",
    "per_device_batch=2",
    "record_samples=true",
    "validate_every_n_steps=100",
    "data.num_validation_samples=4",
    "data.num_workers=1",
    "validation.picture_steps=1",
    "callbacks.resume_checkpoint.every_n_steps=100",
    "callbacks.progress_log.every_n_steps=2",
    "callbacks.bad_samples.every_n_steps=4",
    "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
    "model.network.unet.architecture.norm_num_groups=4",
    "model.network.encoder.architecture.depths=[1,1]",
    "model.network.shared_start=false",
]
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
HANG = 600  # seconds: only what hangs takes so long, however busy the machine is
BAD = ["photo001", "photo003", "photo010"]


@pytest.fixture
def photos(tmp_path: Path, alignment_shards: Path) -> Path:
    """20 photos, three of which are damaged."""
    folder = shutil.copytree(alignment_shards, tmp_path / "shards" / "photos")
    for tar in folder.glob("*.tar"):
        data = bytearray(tar.read_bytes())
        for name in BAD:
            at = data.find(f"{name}.jpg".encode())
            if at >= 0:
                data[at + 512 : at + 912] = bytes(400)
        tar.write_bytes(bytes(data))
    return folder


def command(tmp_path: Path, photos: Path, pairs: Path, *overrides: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "train.py"),
        *SMALL,
        f"runs_folder={tmp_path}",
        f"data.alignment.shards={photos}",
        f"data.refinement.shards={pairs}",
        f"data.refinement.validation_shards={pairs}",
        *overrides,
    ]


def run(line: list[str], timeout: float = HANG) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def found(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "bad_samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("launch", [[], DDP], ids=["one rank", "two ranks"])
def test_bad_samples_are_told_once_over_ranks_and_resumes(
    tmp_path: Path, photos: Path, refinement_shards: Path, launch: list[str]
) -> None:
    line = command(
        tmp_path, photos, refinement_shards, *launch, "run_name=a",
        f"data.alignment.validation_shards={photos}", "validate_every_n_steps=8",
    )  # fmt: skip
    if launch:
        line.append("data.num_workers=0")
    assert run([*line, "max_steps=10"]).returncode == 0
    done = run([*line, "max_steps=24", "resume=auto"])
    assert done.returncode == 0, done.stderr[-3000:]
    entries = found(tmp_path / "a")
    trained = [entry for entry in entries if not entry["validation"]]
    assert sorted(entry["key"] for entry in trained) == BAD
    assert {entry["mode"] for entry in trained} == {"alignment"}
    places = [(e["validation"], e["shard"], e["index"]) for e in entries]
    assert len(set(places)) == len(places)
    assert "3 bad samples were replaced in training" in done.stdout
    table = [row for row in done.stdout.splitlines() if "photos/alignment-00000" in row]
    assert any("'jpg' is not" in row for row in table)
    with (tmp_path / "a" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    counts = [float(x) for row in rows if (x := row["data/bad_samples_alignment"])]
    assert counts == sorted(counts)
    assert counts[-1] == 3
    assert {row["data/bad_samples_refinement"] for row in rows} <= {"", "0.0"}
    # The samples of a step hold no bad one, whatever the mode.
    text = (tmp_path / "a" / "samples.jsonl").read_text()
    assert not any(name in text for name in BAD)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "a"))
    events.Reload()
    assert events.Scalars("data/bad_samples_alignment")[-1].value == 3


@pytest.mark.slow
@pytest.mark.parametrize("launch", [[], DDP], ids=["one rank", "two ranks"])
def test_too_many_end_the_run_with_list_and_checkpoint(
    tmp_path: Path, photos: Path, refinement_shards: Path, launch: list[str]
) -> None:
    limit = "callbacks.bad_samples.max_bad_samples.count=2"
    line = command(
        tmp_path, photos, refinement_shards, *launch, limit, "run_name=a", "max_steps=200"
    )
    done = run(line)
    assert done.returncode == (done.returncode if launch else 3)
    assert done.returncode != 0
    assert "error: 3 samples are bad, more than max_bad_samples.count=2" in done.stderr
    assert "bad_samples.jsonl lists them" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(entry["key"] for entry in found(tmp_path / "a")) == BAD
    (kept,) = (tmp_path / "a" / "checkpoints").glob("*.ckpt")
    assert int(kept.stem[5:]) % 4 == 0  # the interval that told of it
    rest = run([*line[:-2], "callbacks.bad_samples.max_bad_samples.count=3", "run_name=a",
                f"max_steps={int(kept.stem[5:]) + 2}", "resume=auto"])  # fmt: skip
    assert rest.returncode == 0, rest.stderr[-2000:]
    assert len(found(tmp_path / "a")) == 3


def workers_of(process: int) -> list[int]:
    """The children of a process that are its loader workers, by number."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    names = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in text}
    return [pid for pid, name in names.items() if b"train.py" in name and not children(pid)]


def children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def is_gone(process: int) -> bool:
    """No such process, or one that only waits to be reaped."""
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def wait_for_steps(samples: Path, steps: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline and process.poll() is None:
        if samples.exists() and samples.read_text().count("\n") >= 2 * steps:
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"the run did not get to step {steps}")


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_and_the_last_whole_step_is_kept(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    line = command(tmp_path, alignment_shards, refinement_shards)
    with subprocess.Popen(
        [*line, "run_name=killed", "max_steps=100000"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_for_steps(tmp_path / "killed" / "samples.jsonl", 7, process)
        (worker,) = workers_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        killed_at = time.monotonic()
        _, told = process.communicate(timeout=60)
    assert time.monotonic() - killed_at < 30
    assert process.returncode == 3
    assert "loader worker 0 of 1 (process " in told
    assert "was killed by SIGKILL: most likely the machine's memory ran out" in told
    assert "Traceback" not in told
    (kept,) = (tmp_path / "killed" / "checkpoints").glob("*.ckpt")
    step = int(kept.stem[5:])
    assert step >= 7
    end = f"max_steps={step + 3}"
    assert run([*line, "run_name=killed", end, "resume=auto"]).returncode == 0
    assert run([*line, "run_name=whole", end]).returncode == 0
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / f"step_{step + 3:08d}.ckpt")
        for name in ("whole", "killed")
    )
    for name, weight in first["state_dict"].items():
        assert torch.equal(weight, second["state_dict"][name]), name
    texts = [(tmp_path / name / "samples.jsonl").read_text() for name in ("whole", "killed")]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_killed_worker_of_one_rank_ends_all_ranks(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    line = command(tmp_path, alignment_shards, refinement_shards, *DDP)
    with subprocess.Popen(
        [*line, "run_name=killed", "max_steps=100000", "per_device_batch=2"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_for_steps(tmp_path / "killed" / "samples.jsonl", 7, process)
        (second,) = (int(pid) for pid in children(process.pid) if len(children(int(pid))) > 0)
        (worker,) = workers_of(second)
        os.kill(worker, signal.SIGKILL)
        killed_at = time.monotonic()
        _, told = process.communicate(timeout=120)
    assert time.monotonic() - killed_at < 60
    assert process.returncode != 0
    assert "of rank 1) was killed by SIGKILL: most likely the machine's memory ran out" in told
    assert "Traceback" not in told
    while not is_gone(second):  # it may still be leaving
        assert time.monotonic() - killed_at < 60
        time.sleep(0.1)
