"""`rba calibrate` as typed: Gamma, its pictures, and the choice in the model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.cli import main
from rba.evaluation import calibrate_command
from rba.evaluation.benchmark import write_case
from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases
from rba.inference.gamma import Calibration
from rba.inference.gamma_curves import draw_curves
from rba.inference.pipeline import RefineByAlignPipeline
from rba.pictures import read_image

Typed = Callable[..., int]


@pytest.fixture
def model_folder(parts: tuple[Any, Any], tmp_path: Path) -> Path:
    pipeline = RefineByAlignPipeline.from_network(*parts, image_size=64, num_inference_steps=3)
    pipeline.write(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def typed(model_folder: Path, objects: Path) -> Typed:
    usual = {"model": model_folder, "data": objects, "device": "cpu"}

    def run(*switches: str, **changes: object) -> int:
        options = usual | changes
        return main(["calibrate", *(f"--{k}={v}" for k, v in options.items()), *switches])

    return run


def chosen(folder: Path) -> tuple[int, int]:
    index = json.loads((folder / "model_index.json").read_text())
    return index["sampler_step_index"], index["layer"]


def test_gamma_is_written_and_its_best_cell_stored(
    typed: Typed, model_folder: Path, capsys: Any
) -> None:
    weights = {path: path.read_bytes() for path in model_folder.rglob("*.safetensors")}
    assert typed(count=3) == 0
    out = model_folder / "calibration"
    gamma = json.loads((out / "gamma.json").read_text())
    assert gamma["steps"] == [0, 1, 2]
    assert gamma["num_cases"] == 3
    best = np.array(gamma["gamma"])[gamma["sampler_step_index"], gamma["layer"]]
    assert best == np.max(gamma["gamma"])
    assert chosen(model_folder) == (gamma["sampler_step_index"], gamma["layer"])
    assert {path: path.read_bytes() for path in weights} == weights
    assert read_image(out / "heatmap.png").std() > 0
    assert read_image(out / "curves.png").std() > 0
    assert "calibrate: 3/3" in capsys.readouterr().out
    reopened = RefineByAlignPipeline.open(model_folder).settings().alignment
    assert (reopened.sampler_step_index, reopened.layer) == chosen(model_folder)


def test_benchmark_cases_give_what_the_objects_give(
    typed: Typed, objects: Path, tmp_path: Path, model_folder: Path, capsys: Any
) -> None:
    cases = list(synthetic_cases(objects, 2, SyntheticSettings()))
    for case in cases:
        write_case(tmp_path / "bench" / case.id, case)
    unknown = tmp_path / "bench" / "unknown"
    shutil.copytree(tmp_path / "bench" / cases[0].id, unknown)
    (unknown / "correspondence.png").unlink()
    facts = json.loads((unknown / "case.json").read_text())
    (unknown / "case.json").write_text(json.dumps(facts | {"id": "unknown"}))
    before = chosen(model_folder)
    gammas: list[Any] = []
    for data, name in ((tmp_path / "bench", "a"), (objects, "b")):
        assert typed("--dry-run", data=data, output=tmp_path / name, steps="1", count=2) == 0
        gammas.append(json.loads((tmp_path / name / "gamma.json").read_text())["gamma"])
    assert "1 of 3 cases have no correspondence mask" in capsys.readouterr().out
    assert np.abs(np.subtract(*gammas)).max() <= 0.02  # the written mask has 1/255 steps
    assert chosen(model_folder) == before


def test_mistakes_before_the_model_is_opened(
    typed: Typed, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(
        calibrate_command.RefineByAlignPipeline, "open", lambda *_: pytest.fail("opened")
    )
    for changes, words in (
        ({"steps": "1;2"}, "--steps 1;2"),
        ({"model": "tiny"}, "tiny is no folder"),
        ({"data": tmp_path / "none"}, "is not a folder"),
        ({"batch-size": 0}, "batch_size 0"),
        ({"count": 0}, "--count 0"),
    ):
        assert typed(**changes) == 2
        assert words in capsys.readouterr().err


def test_curves_have_the_means_of_both_axes() -> None:
    scores = np.zeros((4, 2, 3, 16))
    scores[:, 0, 1, 9] = 1.0
    flat = Calibration(scores=scores * 0 + 0.5, steps=(0, 5, 10), num_inference_steps=50)
    peaked = Calibration(scores=scores, steps=(0, 5, 10), num_inference_steps=50)
    shown, level = draw_curves(peaked), draw_curves(flat)
    assert shown.shape == level.shape
    assert (shown != level).any()
