"""A run that is killed and resumed ends bit for bit like one that never stopped (CPU)."""

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
SMALL = [
    "experiment=tiny",
    "global_batch=4",
    "per_device_batch=2",
    "record_samples=true",
    "validate_every_n_steps=25",
    "data.num_validation_samples=4",
    "data.num_workers=1",
    "validation.picture_steps=1",
    "callbacks.resume_checkpoint.every_n_steps=10",
    "callbacks.progress_log.every_n_steps=6",
    "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
    "model.network.unet.architecture.norm_num_groups=4",
    "model.network.encoder.architecture.depths=[1,1]",
    "model.network.shared_start=false",
]
Command = list[str]


def base_command(runs: Path, alignment_shards: Path, refinement_shards: Path) -> Command:
    return [
        sys.executable,
        str(ROOT / "train.py"),
        *SMALL,
        f"runs_folder={runs}",
        f"data.alignment.shards={alignment_shards}",
        f"data.refinement.shards={refinement_shards}",
        f"data.refinement.validation_shards={refinement_shards}",
    ]


@pytest.fixture
def command(tmp_path: Path, alignment_shards: Path, refinement_shards: Path) -> Command:
    return base_command(tmp_path, alignment_shards, refinement_shards)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def train(command: Command, *overrides: str) -> None:
    done = subprocess.run(
        [*command, *overrides], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def train_and_kill(
    command: Command, samples: Path, step: int, *overrides: str, delay: float = 0.0
) -> None:
    """Send SIGKILL as soon as the record shows that a step's last micro-batch is done, or later."""
    with subprocess.Popen(
        [*command, *overrides],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            if samples.exists() and samples.read_text().count("\n") >= 2 * step:
                break
            time.sleep(0.01)
        time.sleep(delay)  # seconds
        # The loader's workers too, as a machine that loses power would.
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / f"step_{step:08d}.ckpt", weights_only=True)


def test_sixty_steps_killed_at_37_and_resumed_equal_sixty_in_one_go(
    command: Command, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    train(command, "run_name=whole", "max_steps=60")
    killed = tmp_path / "killed"
    train_and_kill(command, killed / "samples.jsonl", 37, "run_name=killed", "max_steps=60")
    stopped_at = max(int(path.stem[5:]) for path in (killed / "checkpoints").glob("step_*.ckpt"))
    assert 20 <= stopped_at < 60
    train(command, "run_name=killed", "max_steps=60", "resume=auto")

    require_equal_runs(tmp_path / "whole", killed, 60, equal)
    lines = (killed / "samples.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [step for step in range(60) for _ in range(2)]
    assert [r["mode"] for r in records[:4]] == ["alignment"] * 2 + ["refinement"] * 2


def require_equal_runs(
    first: Path, second: Path, step: int, equal: Callable[[Any, Any], bool]
) -> None:
    """Compare weights, average, optimiser, schedule and samples bit for bit."""
    one, two = checkpoint(first, step), checkpoint(second, step)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step"):
        assert equal(one[part], two[part]), part
    assert one["callbacks"]["EMACallback"]["ema"]["shadow_params"]
    lines = [(run / "samples.jsonl").read_text() for run in (first, second)]
    assert lines[0] == lines[1]


@pytest.fixture(scope="module")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, alignment_shards: Path, refinement_shards: Path
) -> Path:
    """24 steps in one go, by no loader worker: the epochs of 20 photos and 12 pairs end often."""
    runs = tmp_path_factory.mktemp("runs")
    train(base_command(runs, alignment_shards, refinement_shards), "run_name=whole", *PRODUCT)
    return runs / "whole"


PRODUCT = [
    "max_steps=24",
    "validate_every_n_steps=8",
    "callbacks.resume_checkpoint.every_n_steps=5",
    "data.num_workers=0",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "persistent"), [(0, False), (1, False), (1, True), (3, False), (3, True)]
)
def test_killed_twice_at_arbitrary_moments_with_any_workers(
    whole_run: Path,
    command: Command,
    tmp_path: Path,
    equal: Callable[[Any, Any], bool],
    workers: int,
    persistent: bool,
) -> None:
    rng = random.Random(f"{workers} {persistent}")
    run = [
        *PRODUCT, "run_name=killed", "resume=auto", f"data.num_workers={workers}",
        f"data.persistent_workers={str(persistent).lower()}",
    ]  # fmt: skip
    samples = tmp_path / "killed" / "samples.jsonl"
    for first, last in ((3, 9), (11, 17)):
        step, delay = rng.randint(first, last), rng.uniform(0.0, 0.1)
        train_and_kill(command, samples, step, *run, delay=delay)
    train(command, *run)
    require_equal_runs(whole_run, tmp_path / "killed", 24, equal)


@pytest.mark.slow
def test_another_seed_gives_other_samples_and_weights(
    command: Command, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    for seed in (0, 1):
        train(command, f"run_name=s{seed}", f"seed={seed}", "max_steps=2")
    first, second = (checkpoint(tmp_path / f"s{seed}", 2)["state_dict"] for seed in (0, 1))
    assert not equal(first, second)
    texts = {(tmp_path / f"s{seed}" / "samples.jsonl").read_text() for seed in (0, 1)}
    assert len(texts) == 2
