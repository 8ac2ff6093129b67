"""A shipped model's name where a command takes a model directory."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from rba.inference.pipeline import RefineByAlignPipeline
from rba.models import shipped
from rba.settings import build, without_sources


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An assets folder without a model yet; the user stands in an empty folder."""
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "assets"


def test_refine_takes_a_shipped_name(
    typed: Any, refusal: Callable[..., str], assets: Path, model_folder: Path, tmp_path: Path
) -> None:
    assert "(shipped: none)" in refusal(model="tiny")
    shutil.copytree(model_folder, assets / "tiny")
    assert "(shipped: tiny)" in refusal(model="large")
    assert typed() == 0
    expected = (tmp_path / "refined.png").read_bytes()
    assert typed(model="tiny") == 0
    assert (tmp_path / "refined.png").read_bytes() == expected


def test_a_folder_of_that_name_wins(
    refusal: Callable[..., str], assets: Path, model_folder: Path
) -> None:
    shutil.copytree(model_folder, assets / "tiny")
    Path("tiny").mkdir()
    assert "tiny is not a model directory (no model_index.json)" in refusal(model="tiny")


def test_training_starts_from_a_shipped_name(
    train: Callable[..., None],
    refused: Callable[..., str],
    composed: Callable[..., DictConfig],
    assets: Path,
    model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "not a shipped model (shipped: none)" in refused("init_from=tiny", "check=true")
    config = composed()
    torch.manual_seed(0)
    network = build(without_sources(config.model.network))
    schedule = build(config.model.scheduler)
    pipeline = RefineByAlignPipeline.from_network(network, schedule, image_size=32)
    pipeline.to(torch.float16)
    pipeline.write(assets / "tiny")
    train("init_from=tiny", "check=true")
    assert "starts from: tiny" in capsys.readouterr().out
    with pytest.raises(Exception, match="everything was accepted"):
        train("init_from=tiny")
    shutil.copytree(model_folder, assets / "other")
    assert "init_from=other has another architecture" in refused("init_from=other", "check=true")
