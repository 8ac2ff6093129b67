"""Weights & Biases: its run goes on over resumes; what is missing is said at the start."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.training.picture_log import log_picture
from rba.training.wandb_log import RUN_ID, ResumableWandbLogger

installed = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="needs the extra wandb"
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, keys or servers of the machine that tests."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@installed
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")
def test_a_resumed_run_continues_the_same_one_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 7\n")
    for step in (10, 20):
        logger = ResumableWandbLogger(folder, "project")
        assert logger.name == "project"
        logger.log_metrics({"train/loss_alignment": 0.5}, step=step)
        log_picture([logger], "pictures/a", np.zeros((4, 4, 3), np.uint8), step)
        assert logger.experiment.config["seed"] == 7
        assert logger.experiment.name == "mine"
        assert logger.experiment.summary["trainer/global_step"] == step
        logger.experiment.finish()
    name = (folder / RUN_ID).read_text()
    found = sorted(path.name for path in (folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert found == [f"run-{name}.wandb"] * len(found)
    assert found


@installed
def test_a_missing_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`wandb login`.*WANDB_MODE=offline"):
        ResumableWandbLogger(tmp_path / "mine", "project")
    assert not (tmp_path / "mine").exists()


def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'refine-by-align\[wandb\]'"):
        ResumableWandbLogger(tmp_path / "mine", "project")
