"""Two hosts train on shards of a third one, which goes away for ten seconds in the middle.

The hosts are network namespaces of this machine, joined by veth pairs and a bridge.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rba.batch import Mode
from rba.data.sample import AlignmentRecord, RefinementRecord
from rba.data.writer import ShardWriter
from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
SERVER, NODES = "10.77.0.1", ("10.77.0.2", "10.77.0.3")
STEPS, WINDOW, OUTAGE = 36, 2, 10.0
pytestmark = pytest.mark.slow


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Names of the server's namespace and of the two nodes'."""
    names = [f"rba-{os.getpid()}-{kind}" for kind in ("server", "a", "b")]
    hub = names[0]
    commands = [f"netns add {name}" for name in names]
    commands += [f"-n {name} link set lo up" for name in names]
    commands += [
        f"-n {hub} link add bridge0 type bridge",
        f"-n {hub} addr add {SERVER}/24 dev bridge0",
        f"-n {hub} link set bridge0 up",
    ]
    for port, (name, address) in enumerate(zip(names[1:], NODES, strict=True)):
        commands += [
            f"-n {hub} link add port{port} type veth peer name eth0 netns {name}",
            f"-n {hub} link set port{port} master bridge0 up",
            f"-n {name} addr add {address}/24 dev eth0",
            f"-n {name} link set eth0 up",
        ]
    try:
        for command in commands:
            done = subprocess.run(
                ["ip", *command.split()], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {command}: {done.stderr.strip()}")
        yield names
    except FileNotFoundError:
        pytest.skip("no network namespaces here: there is no ip command")
    finally:
        for name in names:
            if Path("/run/netns", name).exists():
                subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """24 photos and 24 pairs, two in a shard, in two folders."""
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
        return coarse.repeat(8, 0).repeat(8, 1)

    for mode in Mode:
        folder = tmp_path / "served" / mode.value
        with ShardWriter(folder, kind=mode, samples_per_shard=2, settings={}) as writer:
            for number in range(24):
                key = f"{number:04d}"
                masks = {"target_mask": None, "reference_mask": None, "matches": None}
                record = (
                    AlignmentRecord(key=key, image=picture(), mask=None, metadata={})
                    if mode is Mode.ALIGNMENT
                    else RefinementRecord(
                        key=key, target=picture(), reference=picture(), metadata={}, **masks
                    )
                )
                writer.write(key, record.encode())
    return tmp_path / "served"


def serve(host: str, folder: Path) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("range_server.py")
    inside = ["ip", "netns", "exec", host]
    return subprocess.Popen([*inside, sys.executable, str(script), str(folder), SERVER, "8000"])


def command(runs: Path, shards: str, *overrides: str) -> list[str]:
    return [
        str(ROOT / "train.py"),
        "experiment=tiny",
        f"runs_folder={runs}",
        f"max_steps={STEPS}",
        "global_batch=4",
        "per_device_batch=2",
        "record_samples=true",
        f"data.alignment.shards={shards}/alignment",
        f"data.refinement.shards={shards}/refinement",
        f"data.alignment.shuffle_window={WINDOW}",
        f"data.refinement.shuffle_window={WINDOW}",
        "callbacks.resume_checkpoint.every_n_steps=1000",
        "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
        "model.network.unet.architecture.norm_num_groups=4",
        "model.network.encoder.architecture.depths=[1,1]",
        "model.network.shared_start=false",
        *overrides,
    ]


def train_node(node: int, host: str, arguments: list[str]) -> subprocess.Popen[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += [f"--node-rank={node}", f"--master-addr={NODES[0]}", "--master-port=29500"]
    torchrun += [f"--local-addr={NODES[node]}"]
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *torchrun, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def lines_of(run: Path) -> int:
    path = run / "samples.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def samples_by_step(run: Path) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(STEPS)]
    for line in (run / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["step"]] += record["sample_ids"]
    return [sorted(ids) for ids in found]


def test_shards_of_a_server_that_goes_away(hosts: list[str], shards: Path, tmp_path: Path) -> None:
    largest = [max(p.stat().st_size for p in shards.glob(f"{m.value}/*.tar")) for m in Mode]
    remote = [
        "run_name=far",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.num_nodes=2",
        "trainer.precision=32-true",
        # Two windows of each set, so that shards come and go throughout.
        f"data.storage.cache_gigabytes={2 * WINDOW * sum(largest) / 1e9}",
        "data.storage.retry_seconds=60",
    ]
    server = serve(hosts[0], shards)
    nodes: list[subprocess.Popen[str]] = []
    try:
        for node, host in enumerate(hosts[1:]):
            cache = f"data.storage.cache_folder={tmp_path / host}"
            arguments = command(tmp_path, f"http://{SERVER}:8000", *remote, cache)
            nodes.append(train_node(node, host, arguments))
        deadline = time.monotonic() + 240
        while lines_of(tmp_path / "far") < 2 * 6:
            assert time.monotonic() < deadline
            assert all(node.poll() is None for node in nodes), nodes[0].communicate()[1][-3000:]
            time.sleep(0.01)
        server.kill()
        server.wait()
        time.sleep(OUTAGE)
        stalled = lines_of(tmp_path / "far")
        server = serve(hosts[0], shards)
        errors = [node.communicate(timeout=240)[1] for node in nodes]
    finally:
        for process in (server, *nodes):
            process.kill()
            process.communicate()
    assert [node.returncode for node in nodes] == [0, 0], errors[0][-3000:]
    assert 2 * 6 <= stalled < 2 * STEPS, "the run waited"
    assert any("does not come" in text for text in errors)

    near = command(tmp_path, str(shards), "run_name=near")
    subprocess.run([sys.executable, *near], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found = samples_by_step(tmp_path / "far")
    assert found == samples_by_step(tmp_path / "near")
    for first in range(2):  # each mode: 24 samples in 6 steps, none twice, none left out
        epochs = [found[step : step + 12 : 2] for step in range(first, STEPS, 12)]
        assert [len({i for ids in epoch for i in ids}) for epoch in epochs] == [24] * (STEPS // 12)
