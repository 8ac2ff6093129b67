"""Several shard sets a mode, as typed, and what a changed set does to a resume."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from rba.models.checkpoint import describe_scheduler
from rba.settings import build, compose_config, plain, without_sources
from rba.training.check import on_meta
from rba.training.run import checkpoint_facts

Train = Callable[..., None]
Refused = Callable[..., str]
SHARDS = "data.alignment.shards=[a,b]"


@pytest.fixture
def sets(refinement_shards: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of 12 pairs each that have the same name."""
    folders = (tmp_path / "mine" / "pairs", tmp_path / "others" / "pairs")
    for folder in folders:
        shutil.copytree(refinement_shards, folder)
    return folders


def test_names_and_weights_as_typed(
    train: Train, sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, others = sets
    choice = f"{{mine: {{shards: {mine}, weight: 1}}, others: {{shards: {others}, weight: 3}}}}"
    train(f"data.refinement.shards={choice}", "check=true")
    told = capsys.readouterr().out
    assert "mine:\n      shards: 2\n      samples: 12\n      share: 0.25" in told
    assert "others:\n      shards: 2\n      samples: 12\n      share: 0.75" in told
    typed = compose_config("train", ["experiment=tiny", SHARDS, f"data.refinement.shards={choice}"])
    assert plain(typed.data.refinement.shards) == {
        "mine": {"shards": str(mine), "weight": 1},
        "others": {"shards": str(others), "weight": 3},
    }


def test_equal_names_are_refused_and_the_way_out_works(
    train: Train, refused: Refused, sets: tuple[Path, Path]
) -> None:
    mine, others = sets
    message = refused(f"data.refinement.shards=[{mine},{others}]")
    assert "are both named pairs" in message
    way_out = message[message.index("data.refinement.shards={") :]
    assert way_out == f"data.refinement.shards={{a: {mine}, b: {others}}}"
    train(way_out, "check=true")


def save_checkpoint(path: Path, config: DictConfig) -> None:
    network: Any = on_meta(lambda: build(without_sources(config.model.network)))
    facts = {
        "network": network.describe(),
        "scheduler": describe_scheduler(build(config.model.scheduler)),
        "reference_size": network.reference_size,
        "train_encoder": network.train_encoder,
        **checkpoint_facts(plain(config), build(config.data)),
    }
    torch.save({"rba": facts, "state_dict": {}, "global_step": 2}, path)


def test_a_changed_set_is_refused_by_shard_and_can_be_accepted(
    train: Train,
    refused: Refused,
    composed: Callable[..., DictConfig],
    sets: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = f"data.refinement.shards={sets[0]}"
    checkpoint = tmp_path / "step_00000002.ckpt"
    save_checkpoint(checkpoint, composed(chosen))
    resume = (chosen, f"resume={checkpoint}", "check=true")
    train(*resume)
    moved = sets[0].rename(tmp_path / "moved")  # the only set may lie elsewhere
    train(f"data.refinement.shards={moved}", *resume[1:])
    moved.rename(sets[0])
    manifest = json.loads((sets[0] / "manifest.json").read_text())
    gone = manifest["shards"].pop()["name"]
    (sets[0] / "manifest.json").write_text(json.dumps(manifest))
    message = refused(*resume)
    assert f"data.refinement.shards: pairs: 1 shard removed ({gone})" in message
    assert "'accept_changes=[data.refinement.shards]'" in message
    train(*resume, "accept_changes=[data.refinement.shards]")
    assert f"1 shard removed ({gone})" in caplog.text
    assert "from step 2 on" in caplog.text
