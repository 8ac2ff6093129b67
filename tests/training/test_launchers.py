"""Two processes train like one: the same samples in each global batch, the same weights."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rba.inference.export import export_checkpoint
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.network import RefinementNetwork
from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]


def launch(prefix: list[str], folder: Path, shards: tuple[Path, Path], *overrides: str) -> None:
    photos, pairs = shards
    command = [
        *prefix,
        str(ROOT / "train.py"),
        "experiment=tiny",
        f"runs_folder={folder}",
        f"data.alignment.shards={photos}",
        f"data.refinement.shards={pairs}",
        f"data.refinement.validation_shards={pairs}",
        "data.num_validation_samples=5",
        "data.num_workers=0",
        "global_batch=4",
        "per_device_batch=2",
        "max_steps=6",
        "record_samples=true",
        "validate_every_n_steps=4",
        "validation.picture_steps=1",
        "callbacks.progress_log.every_n_steps=2",
        "callbacks.layer_heatmap.every_n_validations=1",
        "callbacks.layer_heatmap.num_batches=3",
        "model.network.shared_start=false",
        "model.network.unet.architecture.block_out_channels=[8,8,8,8]",
        "model.network.unet.architecture.norm_num_groups=4",
        *overrides,
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # against a hang alone
    )
    assert done.returncode == 0, done.stderr[-3000:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def samples_by_step(run: Path) -> dict[int, tuple[str, list[str]]]:
    found: dict[int, tuple[str, list[str]]] = {}
    for line in (run / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        mode, ids = found.setdefault(record["step"], (record["mode"], []))
        assert mode == record["mode"]
        ids.extend(record["sample_ids"])
    return {step: (mode, sorted(ids)) for step, (mode, ids) in found.items()}


def losses(run: Path) -> dict[tuple[int, str], float]:
    """The logged losses of both modes by step."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("train/loss_alignment", "train/loss_refinement")
    return {
        (int(row["step"]), name): float(row[name])
        for row in rows
        for name in names
        if row.get(name)
    }


# Runs the rest of its command line as SLURM would: a process a task, told its place.
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
export SLURM_JOB_ID=7 SLURM_JOB_NAME=train SLURM_NTASKS=2 SLURM_NTASKS_PER_NODE=2 SLURM_NNODES=1
export SLURM_JOB_NUM_NODES=1
export SLURM_NODEID=0 SLURM_NODELIST=localhost SLURM_JOB_NODELIST=localhost
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""
# Runs a script at once, as SLURM would some day, and says how it is getting on.
SBATCH = """#!/bin/sh
for last; do :; done
(SLURM_JOB_ID=7 sh "$last"; touch "$(dirname "$0")/done") > "$(dirname "$0")/log" 2>&1 &
echo "Submitted batch job 7"
"""
SACCT = """#!/bin/sh
state=RUNNING; [ -e "$(dirname "$0")/done" ] && state=COMPLETED
printf 'JobID|State|NodeList\\n7|%s|localhost\\n' $state
"""


@pytest.mark.slow
def test_srun_trains_like_one_process_with_the_whole_batch(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    shards, whole = (alignment_shards, refinement_shards), "per_device_batch=4"
    every = "callbacks.progress_log.every_n_steps=1"
    launch([sys.executable], tmp_path, shards, "run_name=one", whole, every)
    srun = tmp_path / "stub_of_srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    launch([str(srun), sys.executable], tmp_path, shards, "run_name=srun", every, *DDP)
    one, two = tmp_path / "one", tmp_path / "srun"
    assert samples_by_step(two) == samples_by_step(one)
    expected = losses(one)
    assert {name for _, name in expected} == {"train/loss_alignment", "train/loss_refinement"}
    assert len(expected) == 6
    assert losses(two) == pytest.approx(expected, rel=1e-3)
    ranks = {json.loads(line)["rank"] for line in (two / "samples.jsonl").read_text().splitlines()}
    assert ranks == {0, 1}


@pytest.mark.slow
def test_one_process_lightning_ddp_and_torchrun_agree(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    shards = (alignment_shards, refinement_shards)
    launch([sys.executable], tmp_path, shards, "run_name=one")
    launch([sys.executable], tmp_path, shards, "run_name=ddp", *DDP)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launch([*torchrun, f"--master_port={free_port()}"], tmp_path, shards, "run_name=torchrun", *DDP)
    runs = [tmp_path / name for name in ("one", "ddp", "torchrun")]
    states = [
        torch.load(run / "checkpoints" / "step_00000006.ckpt", weights_only=True)["state_dict"]
        for run in runs
    ]
    for run, state in zip(runs[1:], states[1:], strict=True):
        assert samples_by_step(run) == samples_by_step(runs[0])
        for name, weight in state.items():
            torch.testing.assert_close(weight, states[0][name], rtol=1e-4, atol=1e-6)
        cells = [(r / "heatmaps.csv").read_text().splitlines() for r in (run, runs[0])]
        assert len(cells[0]) == 1 + 5 * 16  # a validation of one set; all ranks' cases together
        assert {row.split(",")[-1] for rows in cells for row in rows[1:]} == {"5"}
        ranks = {json.loads(x)["rank"] for x in (run / "samples.jsonl").read_text().splitlines()}
        assert ranks == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "names"), [("local", ["a", "b"]), ("slurm", ["a"])])
def test_jobs_of_submitit_train_like_one_process_each_in_its_own_folder(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path, executor: str,
    names: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    shards, every = (
        (alignment_shards, refinement_shards),
        "callbacks.progress_log.every_n_steps=1",
    )
    launch([sys.executable], tmp_path, shards, "run_name=one", "per_device_batch=4", every)
    if executor == "slurm":
        stubs = tmp_path / "stubs"
        stubs.mkdir()
        for name, text in {"srun": SRUN, "sbatch": SBATCH, "sacct": SACCT}.items():
            (stubs / name).write_text(text)
            (stubs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{stubs}{os.pathsep}{os.environ['PATH']}")
    launch(
        [sys.executable], tmp_path / "runs", shards, f"run_name={','.join(names)}", every, *DDP,
        f"hydra/launcher=submitit_{executor}", "hydra.launcher.tasks_per_node=2", "--multirun",
    )  # fmt: skip
    assert sorted(f.name for f in (tmp_path / "runs").iterdir()) == [".multirun", *names]
    expected = losses(tmp_path / "one")
    assert len(expected) == 6
    for name in names:
        run = tmp_path / "runs" / name
        assert samples_by_step(run) == samples_by_step(tmp_path / "one")
        assert losses(run) == pytest.approx(expected, rel=1e-3)
        ranks = {json.loads(x)["rank"] for x in (run / "samples.jsonl").read_text().splitlines()}
        assert ranks == {0, 1}


@pytest.mark.slow
def test_a_sweep_in_which_lightning_would_start_processes_is_refused(tmp_path: Path) -> None:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "train.py"), "--multirun", "experiment=tiny",
            "run_name=a,b", *DDP, *shards, f"runs_folder={tmp_path}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "hydra.launcher.tasks_per_node=2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "elsewhere",
    [["data.num_workers=2"], [*DDP, "trainer.devices=4", "per_device_batch=1"]],
    ids=["one rank", "four ranks"],
)
def test_a_run_of_two_ranks_goes_on_on_others_with_the_same_samples(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path, elsewhere: list[str]
) -> None:
    shards = (alignment_shards, refinement_shards)
    launch([sys.executable], tmp_path, shards, "run_name=one", "max_steps=10")
    launch([sys.executable], tmp_path, shards, "run_name=moved", *DDP)
    launch(
        [sys.executable], tmp_path, shards, "run_name=moved", "max_steps=10", "resume=auto",
        *elsewhere,
    )  # fmt: skip
    assert samples_by_step(tmp_path / "moved") == samples_by_step(tmp_path / "one")
    # The five batches of four alignment samples are the 20 photos, each once.
    steps = samples_by_step(tmp_path / "moved").values()
    photos = [sample for mode, ids in steps for sample in ids if mode == "alignment"]
    assert len(photos) == len(set(photos)) == 20
    one, moved = (
        torch.load(tmp_path / run / "checkpoints" / "step_00000010.ckpt", weights_only=True)
        for run in ("one", "moved")
    )
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(moved["state_dict"][name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_shards_compiled_or_not_equal_copies_and_a_run_changes_between_them(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    shards, saves = (alignment_shards, refinement_shards), "callbacks.resume_checkpoint.keep=-1"
    sharded = ["trainer=fsdp", *DDP[1:]]
    launch(
        [sys.executable], tmp_path, shards, "run_name=ddp", *DDP, saves, "max_steps=8",
        "callbacks.resume_checkpoint.every_n_steps=6",
    )  # fmt: skip
    launch([sys.executable], tmp_path, shards, "run_name=fsdp", *sharded, saves)
    launch(
        [sys.executable], tmp_path, shards, "run_name=fsdp", *sharded, saves, "max_steps=7",
        "resume=auto", "callbacks.speed.compile=aot_eager",
    )  # fmt: skip
    launch(
        [sys.executable], tmp_path, shards, "run_name=fsdp", *DDP, saves, "max_steps=8",
        "resume=auto",
    )  # fmt: skip
    assert samples_by_step(tmp_path / "fsdp") == samples_by_step(tmp_path / "ddp")
    copies, parts = (
        torch.load(tmp_path / run / "checkpoints" / "step_00000008.ckpt", weights_only=True)
        for run in ("ddp", "fsdp")
    )
    assert copies["optimizer_states"][0]["state"].keys() == (
        parts["optimizer_states"][0]["state"].keys()
    )
    averages = [run["callbacks"]["EMACallback"]["ema"]["shadow_params"] for run in (copies, parts)]
    for one, two in zip(*averages, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    for name, weight in copies["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][name], weight, rtol=1e-4, atol=1e-6)
    exported: list[RefinementNetwork] = []
    for run in ("ddp", "fsdp"):  # both of step 6, the second from shards
        saved = tmp_path / run / "checkpoints" / "step_00000006.ckpt"
        export_checkpoint(saved, tmp_path / f"{run}-model", use_ema=True)
        exported.append(RefineByAlignPipeline.open(tmp_path / f"{run}-model").network)
    of_copies, of_shards = (network.state_dict() for network in exported)
    assert of_copies.keys() == of_shards.keys()
    for name, weight in of_copies.items():
        torch.testing.assert_close(of_shards[name], weight, rtol=1e-4, atol=1e-6)
