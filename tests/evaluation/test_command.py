"""`rba evaluate` as typed: what it writes, stores, and refuses before the model opens."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rba.cli import main
from rba.evaluation import command as evaluating
from rba.inference.pipeline import RefineByAlignPipeline
from rba.pictures import read_image

Typed = Callable[..., int]


@pytest.fixture
def typed(model_folder: Path, objects: Path, tmp_path: Path) -> Typed:
    """Return a function that runs the command; a switch is an option whose value is None."""
    usual = {
        "model": str(model_folder),
        "objects": str(objects),
        "output": str(tmp_path / "out"),
        "steps": "1",
        "device": "cpu",
    }

    def run(**changes: str | None) -> int:
        options = usual | {name.replace("_", "-"): value for name, value in changes.items()}
        return main(
            [
                "evaluate",
                *(
                    f"--{name}" if value is None else f"--{name}={value}"
                    for name, value in options.items()
                ),
            ]
        )

    return run


@pytest.fixture
def others(objects: Path, tmp_path: Path) -> Path:
    """The objects once more, under another name."""
    return Path(shutil.copytree(objects, tmp_path / "others"))


def read_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def test_all_is_written_and_printed(
    typed: Typed, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"calibrate_on": str(others), "calibration_steps": "0,2", "calibration_count": "2"}
    assert typed(**wanted, count="4", refine="3") == 0
    out = tmp_path / "out"
    names = {"metrics.json", "cases.csv", "heatmap.png", "panel.png", "worst.png"}
    assert {path.name for path in out.iterdir()} == names
    metrics = read_metrics(out)
    assert (metrics["num_pairs"], metrics["num_refined"]) == (4, 3)
    calibration = metrics["calibration"]
    assert (calibration["steps"], calibration["num_cases"]) == ([0, 2], 2)
    assert calibration["halves"]["even"]["num_cases"] == 1
    alignment = metrics["settings"]["alignment"]
    assert alignment["layer"] == calibration["layer"]
    assert alignment["sampler_step_index"] == calibration["sampler_step_index"]
    assert metrics["command"]["count"] == 4
    with (out / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert read_image(out / "panel.png").shape == read_image(out / "worst.png").shape
    printed = capsys.readouterr().out
    assert "calibrated on 2 cases" in printed
    assert "align: 4/4" in printed
    assert "true region minus right reference" in printed


def test_the_command_is_a_pure_function_of_its_options(typed: Typed, tmp_path: Path) -> None:
    def table(name: str, **options: str) -> bytes:
        assert typed(output=str(tmp_path / name), count="2", **options) == 0
        return (tmp_path / name / "cases.csv").read_bytes()

    first = table("a")
    assert table("b") == first
    assert table("c", seed="1") != first
    assert table("d", max_magnification="1") != first
    assert table("e", guidance_scale="1") != first


def test_alignment_alone_has_no_panels(typed: Typed, tmp_path: Path) -> None:
    assert typed(refine="0") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "cases.csv"}
    metrics = read_metrics(tmp_path / "out")
    assert (metrics["num_pairs"], metrics["num_refined"]) == (3, 0)
    assert metrics["refinement"] == {}


def test_the_calibration_is_stored_where_that_is_wanted(
    typed: Typed, model_folder: Path, others: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    before = (copy / "model_index.json").read_text()
    options = {"model": str(copy), "calibrate_on": str(others), "refine": "0", "count": "1"}
    assert typed(**options, calibration_steps="3") == 0
    assert (copy / "model_index.json").read_text() == before
    assert typed(**options, calibration_steps="3", write_calibration=None) == 0
    found = read_metrics(tmp_path / "out")["calibration"]
    stored = json.loads((copy / "model_index.json").read_text())
    assert (stored["sampler_step_index"], stored["layer"]) == (3, found["layer"])
    assert RefineByAlignPipeline.open(copy).settings().alignment.sampler_step_index == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": "0"}, "0 sampler steps"),
        ({"guidance_scale": "nan"}, "nan"),
        ({"max_magnification": "0"}, "max_magnification 0.0"),
        ({"batch_size": "0"}, "batch_size 0"),
        ({"seed": "-1"}, "seed -1"),
        ({"device": "abacus"}, "--device abacus"),
        ({"count": "0"}, "0 cases"),
        ({"count": "-2"}, "-2 cases"),
        ({"refine": "-1"}, "--refine -1"),
        ({"refine": "4"}, "there are 3 cases"),
        ({"count": "1"}, "no other object"),
        ({"objects": "nowhere"}, "nowhere is not a folder"),
        ({"calibrate_on": "nowhere"}, "nowhere is not a folder"),
        ({"write_calibration": None}, "--write-calibration needs --calibrate-on"),
        ({"calibration_steps": "0"}, "--calibration-steps needs --calibrate-on"),
        ({"calibration_count": "2"}, "--calibration-count needs --calibrate-on"),
        ({"calibration_steps": "0,-5", "calibrate_on": "x"}, "--calibration-steps 0,-5"),
        ({"calibration_steps": "", "calibrate_on": "x"}, "--calibration-steps"),
        ({"calibrate_on": "x", "write_calibration": None, "model": "none"}, "is no folder"),
    ],
    ids=str,
)
def test_mistakes_are_refused_before_the_model_is_opened(
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    changes: dict[str, str | None],
    words: str,
) -> None:
    refuse(monkeypatch)
    assert typed(**changes) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out" / "metrics.json").exists()


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(*_: object) -> None:
        pytest.fail("the model was opened before the mistake was found")

    monkeypatch.setattr(evaluating.RefineByAlignPipeline, "open", no_model)


def test_a_cell_is_not_chosen_on_what_it_is_measured_on(
    typed: Typed,
    objects: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse(monkeypatch)
    assert typed(calibrate_on=f"{objects}/../{objects.name}") == 2
    assert "measured on" in capsys.readouterr().err


def test_an_output_that_stands_in_the_way(
    typed: Typed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse(monkeypatch)
    (tmp_path / "file").write_text("")
    assert typed(output=str(tmp_path / "file")) == 2
    assert "--output" in capsys.readouterr().err


def test_a_step_that_the_model_does_not_have(
    typed: Typed, others: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(calibrate_on=str(others), calibration_steps="0,4") == 2
    assert "sampler_step_index 4 does not exist" in capsys.readouterr().err
