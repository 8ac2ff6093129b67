"""Adapters on two ranks: what one process learns, saved small, exported merged."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rba.inference.export import export_checkpoint
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import read_checkpoint
from rba.settings import CONFIG_FOLDER

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
STEPS = 4


def train(folder: Path, shards: tuple[Path, Path], name: str, *overrides: str) -> Path:
    photos, pairs = shards
    command = [
        sys.executable, str(CONFIG_FOLDER.parent / "train.py"), "experiment=finetune_tiny",
        f"runs_folder={folder}", f"run_name={name}", f"data.alignment.shards={photos}",
        f"data.refinement.shards={pairs}", "data.num_workers=0", "global_batch=4",
        f"max_steps={STEPS}", "callbacks.progress_log.every_n_steps=1", *overrides,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # against a hang alone
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / name / "checkpoints" / f"step_{STEPS:08d}.ckpt"


def losses(checkpoint: Path) -> list[float]:
    rows = csv.DictReader((checkpoint.parents[1] / "metrics.csv").read_text().splitlines())
    names = ("train/loss_alignment", "train/loss_refinement")
    return [float(row[name]) for row in rows for name in names if row.get(name)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [[], ["callbacks.speed={gradient_checkpointing:true,compile:aot_eager}"]],
    ids=["plain", "checkpointing, compiled"],
)
def test_two_ranks_learn_what_one_does(
    tmp_path: Path, alignment_shards: Path, refinement_shards: Path, more: list[str]
) -> None:
    shards = alignment_shards, refinement_shards
    one = train(tmp_path, shards, "one", "per_device_batch=4")
    two = train(tmp_path, shards, "two", "per_device_batch=2", *DDP, *more)
    assert len(losses(one)) == STEPS
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    adapters = [read_checkpoint(path)["state_dict"] for path in (one, two)]
    assert all(".lora_" in name for name in adapters[1])
    for name, expected in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], expected, rtol=1e-3, atol=1e-5)
    assert two.stat().st_size < 4e6  # of a model of 15 MB
    export_checkpoint(two, tmp_path / "merged", use_ema=True)
    unets = [RefineByAlignPipeline.open(source).unet for source in (tmp_path / "merged", "tiny")]
    assert not any("lora" in name for name in unets[0].state_dict())
    moved = [
        name
        for name, before in unets[1].state_dict().items()
        if not torch.equal(unets[0].state_dict()[name], before)
    ]
    assert moved
    assert all(".to_" in name for name in moved)
