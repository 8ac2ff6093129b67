"""``rba bench check``: what is broken is named with the way out, the rest is counted."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rba.case import Case
from rba.cli import main
from rba.evaluation.bench_check import check_benchmark
from rba.evaluation.benchmark import read_case, write_case
from rba.pictures import write_png


def make_case(name: str, seed: int, **changed: object) -> Case:
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 30), bool)
    mask[3:6, 4:9] = True  # 15 of 600 pixels
    match = np.zeros((12, 10), np.float32)
    match[2:5, 2:6] = 1.0  # 12 of 120 pixels
    case = Case(
        id=name,
        image=rng.integers(0, 256, (20, 30, 3)).astype(np.uint8),
        artifact_mask=mask,
        references=(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8),),
        reference_masks=(None,),
        correspondence_mask=match,
        task="customization",
        generator="DreamBooth",
    )
    return dataclasses.replace(case, **changed)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Three sound cases."""
    root = tmp_path / "bench"
    for seed, name in enumerate(("a", "b")):
        write_case(root / name, make_case(name, seed))
    other = make_case("c", 2, task="try_on", generator="IDM-VTON", correspondence_mask=None)
    write_case(root / "c", other)
    return root


def test_sound_cases_are_counted(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "check", str(bench)]) == 0
    out = capsys.readouterr().out
    summary = check_benchmark(bench)
    assert (summary.problems, summary.remarks, summary.cases) == ([], [], 3)
    assert summary.tasks == {"customization": 2, "try_on": 1}
    assert summary.generators == {"DreamBooth": 2, "IDM-VTON": 1}
    assert summary.parts == {"correspondence mask": 2}
    assert "artifact area, median: 2.50% of the image" in out
    assert "true region, median: 10.00% of the reference" in out
    assert "no case is broken" in out
    (bench / ".cache").mkdir()
    (bench / "a" / ".hidden").touch()
    assert check_benchmark(bench) == summary


def edit(folder: Path, **facts: str) -> None:
    path = folder / "case.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mask": (lambda b: (b / "b/mask.png").unlink(), "mask.png does not exist"),
    "no facts": (lambda b: (b / "b/case.json").unlink(), "case.json does not exist"),
    "no picture": (lambda b: (b / "b/image.png").write_text("x"), "cannot be read as an image"),
    "same id": (lambda b: edit(b / "b", id="A"), "id 'A' is taken by a; set another id"),
    "id": (lambda b: edit(b / "b", id="x/y"), "id 'x/y' is no file name"),
    "no match": (
        lambda b: write_png(b / "b/correspondence.png", np.zeros((12, 10), bool)),
        "correspondence.png marks nothing",
    ),
    "no object": (
        lambda b: write_png(b / "b/reference_mask.png", np.zeros((12, 10), bool)),
        "object mask of reference 0 marks nothing",
    ),
    "sizes": (
        lambda b: write_png(b / "b/correspondence.png", np.ones((3, 4), bool)),
        "correspondence mask is 4x3 pixels",
    ),
    "twice": (
        lambda b: write_case(b / "b", make_case("b", 0)),
        "image and mask are those of a; delete one",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named(
    bench: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = BREAKS[name]
    damage(bench)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "check", str(bench)])
    assert ended.value.code == 1
    summary = check_benchmark(bench)
    assert len(summary.problems) == 1
    assert summary.problems[0].startswith("b: ")
    assert message in summary.problems[0]
    assert summary.cases == 2
    assert message in capsys.readouterr().out


def test_what_looks_like_a_mistake_is_said(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bench / "a" / "correspondance.png").touch()
    edit(bench / "b", task="tryon")
    case = read_case(bench / "c")
    almost = np.ones((20, 30), bool)
    write_case(bench / "c", dataclasses.replace(case, artifact_mask=almost, truth=case.image))
    assert main(["bench", "check", str(bench)]) == 0
    out = capsys.readouterr().out
    assert "a: correspondance.png is not read" in out
    assert "b: task 'tryon' is none of customization, view_synthesis" in out
    assert "c: the mask covers 100% of the image" in out
    assert "c: truth.png equals image.png under the mask" in out
    assert "remarks: 4" in out


def test_a_wrong_folder_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "check", str(tmp_path / "no")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["bench", "check", str(tmp_path)]) == 2
    assert "holds no case" in capsys.readouterr().err
