"""`rba evaluate --bench` as typed: the table, a second start, mistakes before weights are read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rba.cli import main
from rba.evaluation import models
from rba.evaluation.bench_rows import known_rows
from rba.pictures import read_image, write_png

Typed = Callable[..., int]


@pytest.fixture
def usual(bench: Path, model_folder: Path, tmp_path: Path) -> dict[str, object]:
    return {
        "bench": bench,
        "model": model_folder,
        "output": tmp_path / "out",
        "methods": "defect,ours,oracle_region",
        "steps": 1,
        "batch-size": 2,
        "device": "cpu",
    }


@pytest.fixture
def typed(usual: dict[str, object]) -> Typed:
    """Call with `{option}=value`; None leaves an option out."""

    def run(**changes: object) -> int:
        options = usual | {key.replace("_", "-"): value for key, value in changes.items()}
        return main(arguments(options))

    return run


def arguments(options: dict[str, object]) -> list[str]:
    return ["evaluate", *(f"--{k}={v}" for k, v in options.items() if v is not None)]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the model was opened before the mistake was found")

    monkeypatch.setattr(models.RefineByAlignPipeline, "open", refuse)


def test_the_table_and_a_second_start(
    typed: Typed, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    ids = sorted(path.name for path in bench.iterdir())
    write_png(theirs / f"{ids[0]}.png", read_image(bench / ids[0] / "truth.png"))
    results = f"theirs={theirs}"
    assert typed(results=results) == 0
    out = tmp_path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["methods"]) == ["defect", "ours", "oracle_region", "theirs"]
    row = metrics["methods"]
    assert row["oracle_region"]["pooled"]["iou_box"]["mean"] == 1.0
    assert row["oracle_region"]["fallbacks"] == 1  # the fifth case has no known region
    assert row["theirs"]["fallbacks"] == 4
    assert row["ours"]["pooled"]["change_outside"]["mean"] == 0.0
    assert row["ours"]["pooled"]["psnr_hole_db"]["n"] == 4
    assert set(row["ours"]["tasks"]) == {"composition", "try_on"}
    assert row["theirs"]["against_ours"]["psnr_hole_db"]["n"] == 4
    assert metrics["bench"]["cases"] == 5
    assert metrics["calibration"] is None
    assert "5 cases of five" in capsys.readouterr().out
    for name in ids:
        assert read_image(out / "methods" / "ours" / f"{name}.png").shape == (96, 96, 3)
    before = contents(out)
    assert typed(results=results) == 0
    assert contents(out) == before
    # further rows are added to what is there
    assert typed(methods="no_reference", results=None) == 0
    assert (out / "methods" / "theirs").is_dir()
    assert list(json.loads((out / "metrics.json").read_text())["methods"]) == ["no_reference"]
    record = json.loads((out / "run.json").read_text())
    assert set(record["methods"]) == {*row, "no_reference"}


def test_the_cell_is_chosen_on_one_half_and_the_table_has_the_other(
    typed: Typed, tmp_path: Path, model_folder: Path
) -> None:
    split: dict[str, object] = {"calibration_split": "half", "calibration_steps": "0,1"}
    assert typed(**split, methods="ours", also_model=f"second={model_folder}") == 0
    out = tmp_path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    calibration = metrics["calibration"]
    reported = {path.stem for path in (out / "methods" / "ours").glob("*.json")}
    assert not reported & set(calibration["cases"])
    assert len(reported) + len(calibration["cases"]) == 5
    alignment = metrics["methods"]["ours"]["settings"]["alignment"]
    best = calibration["sampler_step_index"], calibration["layer"]
    assert (alignment["sampler_step_index"], alignment["layer"]) == best
    second = metrics["methods"]["second"]["settings"]["alignment"]
    assert (second["sampler_step_index"], second["layer"]) == (0, 9)  # its own
    assert read_image(out / "grid.png").std() > 0
    before = contents(out)
    assert typed(**split, methods="ours", also_model=f"second={model_folder}") == 0
    assert contents(out) == before


def test_without_truth_the_rest_is_measured_and_the_reason_told(
    typed: Typed, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "real"
    shutil.copytree(bench, real)
    for folder in real.iterdir():
        for name in ("truth.png", "correspondence.png"):
            (folder / name).unlink(missing_ok=True)
    assert typed(bench=real, methods="defect,paint_by_example,ours,oracle_region") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["methods"]) == ["defect", "ours"]
    assert metrics["left_out"]["oracle_region"] == "the true region is not known for any case"
    assert "give --paint-by-example DIR" in metrics["left_out"]["paint_by_example"]
    assert "0 of 5 cases have a truth" in metrics["metrics"]["psnr_hole_db"]["skipped"]
    assert metrics["methods"]["ours"]["pooled"]["seam"]["n"] == 5
    assert "left out: the true region" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bench": "none"}, "none"),
        ({"model": "none"}, "none is not a model directory"),
        ({"methods": "ours,best"}, "'best' is not known; give all, or some of defect, "),
        ({"results": "theirs"}, "--results theirs: give NAME=DIR"),
        ({"results": "ours=."}, "there is a row ours already"),
        ({"results": "a=none"}, "--results a=none: no such folder"),
        ({"also_model": "a/b=tiny"}, "--also-model a/b=tiny: give NAME=DIR"),
        ({"also_model": "a=none"}, "none is not a model directory"),
        ({"steps": 0}, "0"),
        ({"seed": -1}, "seed -1"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"device": "warp"}, "--device warp"),
        ({"calibration_split": "third"}, "--calibration-split third is not known; give half"),
        ({"calibration_steps": "0"}, "--calibration-steps needs --calibrate-on"),
        ({"calibration_split": "half", "calibration_steps": "0,4"}, "sampler steps 0 to 3"),
        ({"calibration_split": "half", "calibrate_on": "x"}, "contradict each other"),
        ({"calibrate_on": "none"}, "none"),
        ({"count": 3}, "--count is for --objects, not for --bench"),
        ({"dino": "none"}, "none"),
        ({"paint_by_example": "none"}, "--paint-by-example none is not a folder"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("no_weights")
def test_mistakes_are_refused_before_weights_are_read(
    typed: Typed,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    changes: dict[str, object],
    words: str,
) -> None:
    assert typed(**changes) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.usefixtures("no_weights")
def test_the_cases_of_the_table_cannot_choose_the_cell(
    typed: Typed, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(calibrate_on=f"{bench}/../{bench.name}") == 2
    assert "holds the cases that are measured on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 2}, "results of ours with other settings: sampler.num_inference_steps was 1"),
        ({"seed": 1}, "results of ours with other settings: seed was 0, now 1"),
        ({"model": "tiny"}, "results of ours with other settings"),
        ({"bench": "other"}, "results of another benchmark than"),
        ({"calibration_split": "half"}, "results of another calibration"),
    ],
    ids=str,
)
def test_an_output_of_other_settings_is_refused_by_name(
    typed: Typed,
    bench: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    words: str,
) -> None:
    if "bench" in changes:
        shutil.copytree(bench, tmp_path / "other")
        shutil.rmtree(sorted((tmp_path / "other").iterdir())[-1])
        changes = {"bench": tmp_path / "other"}

    def refuse(*_: object) -> None:
        pytest.fail("the model was opened")

    monkeypatch.setattr(models.RefineByAlignPipeline, "open", refuse)
    with pytest.raises(pytest.fail.Exception):  # leaves its record and the first row
        typed()
    before = contents(tmp_path / "out")
    assert typed(**changes) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "give another --output" in error
    assert contents(tmp_path / "out") == before


@pytest.mark.usefixtures("no_weights")
def test_a_folder_of_something_else_is_left_alone(
    typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert typed() == 2
    assert "holds other files (thesis.txt)" in capsys.readouterr().err
    assert contents(tmp_path / "out") == {"thesis.txt": b"mine"}


def test_every_row_of_the_contract_has_a_name() -> None:
    assert set(known_rows()) >= {
        *("defect", "ours", "oracle_region", "whole_reference", "wrong_reference"),
        *("no_reference", "ours_no_postprocessing", "ours_no_zoom", "ours_no_reencoding"),
        *("ours_four_noises", "ours_mean_cells", "sift_poisson", "patch_correlation"),
    }


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(usual: dict[str, object], tmp_path: Path) -> None:
    usual = usual | {"calibration-split": "half", "calibration-steps": "0", "methods": "all"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(usual | {"output": whole})) == 0
    command = [sys.executable, "-m", "rba.cli", *arguments(usual | {"output": killed})]
    for row in ("ours", "no_reference", "ours_mean_cells"):
        process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
        while not list((killed / "methods" / row).glob("*.json")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "metrics.json").exists()
    assert main(arguments(usual | {"output": killed})) == 0
    left = {name for name in contents(killed) if name.endswith(".partial")}
    assert {n: c for n, c in contents(killed).items() if n not in left} == contents(whole)
