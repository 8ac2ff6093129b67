"""A server that goes away for good ends the run with its cause and a checkpoint; it goes on."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rba.batch import Mode
from rba.data.sample import AlignmentRecord
from rba.data.writer import ShardWriter
from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
STEPS = 12


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """24 photos, two in a shard."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "served" / "photos"
    with ShardWriter(folder, kind=Mode.ALIGNMENT, samples_per_shard=2, settings={}) as writer:
        for number in range(24):
            image = rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            record = AlignmentRecord(key=f"{number:04d}", image=image, mask=None, metadata={})
            writer.write(record.key, record.encode())
    return folder


def command(runs: Path, name: str, shards: str, *overrides: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "train.py"), "experiment=tiny", f"runs_folder={runs}",
        f"run_name={name}", f"max_steps={STEPS}", "global_batch=2", "per_device_batch=2",
        "record_samples=true", "alternation=alignment_only", f"data.alignment.shards={shards}",
        "data.refinement.shards=null", "data.alignment.shuffle_window=1", "data.num_workers=1",
        "callbacks.resume_checkpoint.every_n_steps=1000", "model.network.shared_start=false",
        "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
        "model.network.unet.architecture.norm_num_groups=4",
        "model.network.encoder.architecture.depths=[1,1]", *overrides,
    ]  # fmt: skip


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("range_server.py")
    return subprocess.Popen([sys.executable, str(script), str(folder), "127.0.0.1", str(port)])


def start(line: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def samples(run: Path) -> list[list[str]]:
    lines = (run / "samples.jsonl").read_text().splitlines()
    return [json.loads(line)["sample_ids"] for line in lines]


@pytest.mark.slow
def test_a_server_that_does_not_come_back_ends_the_run_and_costs_nothing(
    tmp_path: Path, shards: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    largest = max(path.stat().st_size for path in shards.glob("*.tar"))
    far = command(
        tmp_path, "far", f"http://127.0.0.1:{port}/photos",
        f"data.storage.cache_folder={tmp_path}/cache", "data.storage.retry_seconds=2",
        f"data.storage.cache_gigabytes={2.5 * largest / 1e9}",
    )  # fmt: skip
    server = serve(shards.parent, port)
    try:
        run = start(far)
        deadline = time.monotonic() + 200
        while not (path := tmp_path / "far" / "samples.jsonl").exists() or not path.read_text():
            assert run.poll() is None, run.communicate()[1][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.kill()
        server.wait()
        _, error = run.communicate(timeout=200)
        assert run.returncode == 3, error[-3000:]
        assert f"127.0.0.1:{port}/photos" in error.splitlines()[-1]
        assert "Traceback" not in error
        (saved,) = (tmp_path / "far" / "checkpoints").glob("*.ckpt")
        assert 1 <= int(saved.stem.removeprefix("step_")) < STEPS

        server = serve(shards.parent, port)
        again = start([*far, "resume=auto"])
        _, error = again.communicate(timeout=200)
        assert again.returncode == 0, error[-3000:]
    finally:
        server.kill()
        server.wait()
    near = start(command(tmp_path, "near", str(shards)))
    near.communicate(timeout=200)
    assert near.returncode == 0
    assert samples(tmp_path / "far") == samples(tmp_path / "near")
