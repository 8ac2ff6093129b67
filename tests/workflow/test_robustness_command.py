"""`rba robustness`: what it writes, how it goes on, and which mistakes it names."""

import csv
import json
from pathlib import Path

import pytest

from rba.errors import InputError
from rba.pictures import read_image
from rba.workflow.robustness import RobustnessCommand, run_robustness

QUICK = ("sweeps.light=[0,1]", "sweeps.scale=[1]")


def command(output: Path, **options: object) -> RobustnessCommand:
    values = {
        "model": "tiny",
        "methods": "defect",
        "sweeps": "light",
        "count": 2,
        "size": 64,
        "device": "cpu",
        "overrides": QUICK,
    }
    return RobustnessCommand(output=str(output), **{**values, **options})  # type: ignore[arg-type]


def test_tables_and_curves_are_written_and_added_to(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_robustness(command(output))
    rows = json.loads((output / "robustness.json").read_text())["rows"]
    assert [(row["sweep"], row["value"]) for row in rows] == [("light", 0), ("light", 1)]
    assert all(row["psnr_hole_db"] > 0 for row in rows)
    for name in ("curves.png", "light.png", "examples.png"):
        assert read_image(output / name).size > 0
    before = (output / "robustness.csv").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (output / "points").iterdir()}
    assert len(times) == 2
    run_robustness(command(output, sweeps="light,scale"))  # one more sweep: its point is new
    with (output / "robustness.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    run_robustness(command(output))
    assert (output / "robustness.csv").read_bytes() == before
    with pytest.raises(InputError, match="holds scores with seed=0, not 1"):
        run_robustness(command(output, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "missing"}, "missing is not a model directory"),
        ({"methods": "magic"}, "--methods magic: give some of ours"),
        ({"methods": "defect,defect"}, "each once"),
        ({"methods": "wrong_reference"}, "give some of"),
        ({"sweeps": "height"}, "--sweeps height: height is none of"),
        ({"count": 1}, "--count 1"),
        ({"size": 8}, "size 8"),
        ({"steps": 0}, "0"),
        ({"overrides": ("middle.scale=9",)}, "scale 9"),
        ({"overrides": ("middle.height=9",)}, "height"),
    ],
)
def test_mistakes_are_named_at_the_start(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_robustness(command(tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        run_robustness(command(tmp_path))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="no record of rba robustness"):
        run_robustness(command(tmp_path))


@pytest.mark.slow
def test_the_shipped_model_and_the_classical_rows(tmp_path: Path) -> None:
    methods = "ours,oracle_region,sift_poisson,patch_correlation,defect"
    run_robustness(command(tmp_path / "out", methods=methods, steps=2, size=96, sweeps="light"))
    rows = json.loads((tmp_path / "out" / "robustness.json").read_text())["rows"]
    assert len(rows) == 10
    oracle = next(row for row in rows if row["method"] == "oracle_region")
    assert oracle["iou_mask"] > 0.95
