"""Twenty SIGKILLs to one of two ranks, the same command each time: the weights of a run unharmed.

``pytest -m slow -s tests/training/test_random_kills.py`` prints where each kill fell and how long
the other rank took to end; about 15 minutes on two cores.
"""

import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
STEPS, KILLS, SEED = 300, 20, 0
TIMEOUT = (
    300.0  # seconds that a rank waits for one that never came; starts are slow on busy machines
)
OPTIONS = [
    "experiment=tiny",
    f"max_steps={STEPS}",
    "global_batch=4",
    "per_device_batch=2",
    "record_samples=true",
    "resume=auto",
    "validate_every_n_steps=40",
    "data.num_validation_samples=4",
    "data.num_workers=0",
    "validation.picture_steps=1",
    "callbacks.resume_checkpoint.every_n_steps=5",
    "callbacks.progress_log.every_n_steps=7",
    "model.network.shared_start=false",
    "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
    "model.network.unet.architecture.norm_num_groups=4",
    "model.network.encoder.architecture.depths=[1,1]",
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.precision=32-true",
    f"trainer.process_group_timeout={TIMEOUT}",
]


@dataclasses.dataclass
class Kill:
    """One attempt: which rank was killed when, as the run's own files show it."""

    rank: int
    resumed_from: int
    steps: int  # recorded in this attempt
    is_saving: bool
    other_ended_after: float  # seconds
    told: str

    @property
    def phase(self) -> str:
        return "saving" if self.is_saving else "steps" if self.steps else "starting"


def newest(run: Path) -> int:
    steps = [int(path.stem[5:]) for path in run.glob("checkpoints/step_*.ckpt")]
    return max(steps, default=0)


def recorded(run: Path, began: float) -> int:
    """Return how many steps the run has recorded, 0 where it has not since a time (epoch)."""
    path = run / "samples.jsonl"
    if not path.exists() or path.stat().st_mtime < began:
        return 0
    lines = path.read_text().splitlines(keepends=True)[-4:]
    return max((json.loads(x)["step"] + 1 for x in lines if x.endswith("\n")), default=0)


def is_saving(run: Path, began: float) -> bool:
    """Say whether a checkpoint was begun since then and is not whole."""
    try:
        return any(x.stat().st_mtime >= began for x in run.glob("checkpoints/.*.partial"))
    except FileNotFoundError:  # whole meanwhile
        return False


def is_gone(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def second_rank(first: int) -> int | None:
    """The process that Lightning starts for rank 1; its environment names it."""
    for child in Path(f"/proc/{first}/task/{first}/children").read_text().split():
        try:
            entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"LOCAL_RANK=1" in entries:
            return int(child)
    return None


def start(command: list[str], errors: Path) -> subprocess.Popen[bytes]:
    with errors.open("wb") as file:
        return subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL, stderr=file,
        )  # fmt: skip


def wait_for_moment(rng: random.Random, run: Path, process: subprocess.Popen[bytes]) -> None:
    """Sleep to a drawn moment: some steps and a little later, the next save, or any time at all."""
    first, began = newest(run), time.time()
    kind = rng.choices(["step", "save", "any"], [12, 5, 3])[0]
    steps, delay, anywhere = rng.randint(1, 14), rng.uniform(0, 0.2), rng.uniform(2, 30)
    while process.poll() is None and time.time() < began + 600:
        stepped = recorded(run, began) - first
        if kind == "any" and time.time() > began + anywhere:
            return
        if kind == "save" and stepped > 0 and is_saving(run, began):
            return
        if kind == "step" and stepped >= steps:
            time.sleep(delay)
            return
        time.sleep(0.002)


def kill_once(rng: random.Random, command: list[str], run: Path) -> Kill:
    errors = run.parent / "errors.txt"
    first, began = newest(run), time.time()
    with start(command, errors) as process:
        wait_for_moment(rng, run, process)
        assert process.poll() is None, errors.read_text()[-3000:]
        ranks = [process.pid, second_rank(process.pid)]
        rank = rng.randrange(2) if ranks[1] is not None else 0
        os.kill(ranks[rank] or process.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        saving, steps = is_saving(run, began), recorded(run, began) - first
        other = ranks[1 - rank]
        while other is not None and not is_gone(other):
            process.poll()
            assert time.monotonic() < killed_at + 2 * TIMEOUT, errors.read_text()[-3000:]
            time.sleep(0.01)
        ended_after = time.monotonic() - killed_at
    lines = [line for line in errors.read_text().splitlines() if "arning" not in line]
    told = [line for line in lines if "error: " in line] or lines[-1:]
    return Kill(rank, first, max(steps, 0), saving, ended_after, "; ".join(told))


@pytest.mark.slow
def test_twenty_kills_change_nothing(
    tmp_path: Path,
    alignment_shards: Path,
    refinement_shards: Path,
    equal: Callable[[Any, Any], bool],
) -> None:
    command = [
        sys.executable, str(ROOT / "train.py"), *OPTIONS, f"runs_folder={tmp_path}",
        f"data.alignment.shards={alignment_shards}", f"data.refinement.shards={refinement_shards}",
        f"data.refinement.validation_shards={refinement_shards}",
    ]  # fmt: skip
    rng, killed, whole = random.Random(SEED), tmp_path / "killed", tmp_path / "whole"
    kills: list[Kill] = []
    for number in range(KILLS):
        kills.append(kill_once(rng, [*command, "run_name=killed"], killed))
        kill = kills[-1]
        print(
            f"{number + 1:2}: rank {kill.rank} while {kill.phase}, from step {kill.resumed_from}, "
            f"{kill.steps} steps on; the other ended after {kill.other_ended_after:.1f} s: "
            f"{kill.told[:160]}", flush=True,
        )  # fmt: skip
    assert newest(killed) < STEPS, "the kills must fall into the run"
    phases = [kill.phase for kill in kills]
    print({phase: phases.count(phase) for phase in sorted(set(phases))}, flush=True)
    assert sum(phase != "starting" for phase in phases) >= 15
    assert {"saving", "steps"} <= set(phases)
    running = [kill for kill in kills if kill.phase != "starting"]
    assert all("lost another rank" in kill.told for kill in running)

    last = newest(killed)
    for name in ("killed", "whole"):
        with start([*command, f"run_name={name}"], tmp_path / "errors.txt") as process:
            assert process.wait() == 0, (tmp_path / "errors.txt").read_text()[-3000:]
    one, two = (
        torch.load(run / "checkpoints" / f"step_{STEPS:08d}.ckpt", weights_only=True)
        for run in (whole, killed)
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert equal(one[part], two[part]), part
    assert equal(one["callbacks"]["EMACallback"], two["callbacks"]["EMACallback"])
    records = [sorted((run / "samples.jsonl").read_text().splitlines()) for run in (whole, killed)]
    assert records[0] == records[1]
    assert len(records[0]) == 2 * STEPS
    with (killed / "metrics.csv").open(newline="") as file:
        steps = [
            int(row["step"]) for row in csv.DictReader(file) if row["speed/samples_per_second"]
        ]
    assert steps == sorted(set(steps))  # each step once
    # All ranks make a row together: one that was lost with a rank at just that step, which was
    # saved all the same, is not made again.
    due, saved = {*range(7, STEPS, 7), STEPS}, {kill.resumed_from for kill in kills} | {last}
    assert set(steps) <= due
    assert due - set(steps) <= saved
