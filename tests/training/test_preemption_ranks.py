"""A signal to any one process of two ranks ends both after the same step."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
OPTIONS = [
    "experiment=tiny",
    "global_batch=4",
    "per_device_batch=2",
    "record_samples=true",
    "validate_every_n_steps=1000000",
    "data.num_workers=1",
    "callbacks.resume_checkpoint.every_n_steps=1000000",
    "model.network.shared_start=false",
    "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
    "model.network.unet.architecture.norm_num_groups=4",
    "model.network.encoder.architecture.depths=[1,1]",
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.precision=32-true",
    "resume=auto",
]


def launcher(name: str) -> list[str]:
    if name == "python":
        return [sys.executable]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agent = "torch.distributed.run"
    return [sys.executable, "-m", agent, "--nproc_per_node=2", f"--master_port={port}"]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def rank_processes(launched: int) -> dict[int, int]:
    """Return the process of each rank, from the environment the launcher gave it."""
    found: dict[int, int] = {}
    queue = [launched]
    while queue:
        process = queue.pop()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        queue += map(int, children)
        for child in map(int, children):
            entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            for entry in entries:
                if entry.startswith(b"LOCAL_RANK="):
                    # A loader worker has its rank's environment too, and comes later.
                    found.setdefault(int(entry[11:]), child)
    return found


def recorded_steps(samples: Path) -> int:
    return samples.read_text().count("\n") // 2 if samples.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "rank", "signum"),
    [
        ("python", 1, signal.SIGTERM),
        ("python", 0, signal.SIGUSR1),
        ("torchrun", 1, signal.SIGINT),
        ("python", None, signal.SIGTERM),  # all processes, loader workers too
    ],
)
def test_one_rank_is_told_and_all_end_with_one_checkpoint(
    tmp_path: Path,
    alignment_shards: Path,
    refinement_shards: Path,
    by: str,
    rank: int | None,
    signum: int,
) -> None:
    command = [
        *launcher(by), str(ROOT / "train.py"), *OPTIONS, f"runs_folder={tmp_path}",
        f"data.alignment.shards={alignment_shards}", f"data.refinement.shards={refinement_shards}",
        "run_name=told",
    ]  # fmt: skip
    samples = tmp_path / "told" / "samples.jsonl"
    with start([*command, "max_steps=100000"]) as process:
        deadline = time.monotonic() + 200
        while recorded_steps(samples) < 5 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ranks = {0: process.pid} if by == "python" else {}
        ranks |= {key: pid for key, pid in rank_processes(process.pid).items() if key not in ranks}
        before = recorded_steps(samples)
        if rank is None:
            os.killpg(process.pid, signum)
        else:
            os.kill(ranks[rank], signum)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == (75 if by == "python" else 1), told[-3000:]
    assert f"{signal.Signals(signum).name} ended the run after step" in told
    (kept,) = (tmp_path / "told" / "checkpoints").iterdir()
    step = int(kept.stem[5:])
    assert before <= step <= before + 3  # the count may lag a step behind, the signal too
    assert recorded_steps(samples) == step
    state = torch.load(kept, weights_only=True)
    assert state["global_step"] == step
    assert state["callbacks"]["EMACallback"]["ema"]["optimization_step"] == step
