"""`rba refine --jobs`: every job its own, whatever happens to the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.cli import main
from rba.inference import job_devices, job_runner
from rba.pictures import read_image

Run = Callable[..., int]


@pytest.fixture
def jobs(photo: np.ndarray, hole: Any, write: Any, tmp_path: Path) -> Path:
    """Five jobs, one of which has no mask."""
    lines: list[str] = []
    for index in range(5):
        write(f"in/{index}.png", np.roll(photo, 7 * index, axis=1))
        row = {"image": f"{index}.png", "mask": "mask.png", "reference": "r.png"}
        lines.append(json.dumps(row | ({"mask": "gone.png"} if index == 2 else {})))
    write("in/mask.png", hole())
    write("in/r.png", photo[:50, :40])
    (tmp_path / "in" / "list.jsonl").write_text("\n".join(lines))
    return tmp_path / "in" / "list.jsonl"


@pytest.fixture
def run(model_folder: Path, jobs: Path, tmp_path: Path) -> Run:
    usual = {"model": model_folder, "jobs": jobs, "output": tmp_path / "out", "steps": 1}

    def run(**changes: object) -> int:
        options = usual | {"device": "cpu", "batch-size": 2} | changes
        given = {name: value for name, value in options.items() if value is not None}
        return main(["refine", *(f"--{name.replace('_', '-')}={v}" for name, v in given.items())])

    return run


def facts(tmp_path: Path, name: object) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / f"{name}.json").read_text())


def test_one_bad_job_is_reported_and_the_rest_is_done(
    run: Run, typed: Any, jobs: Path, tmp_path: Path, capsys: Any
) -> None:
    assert run(save_intermediates=tmp_path / "steps") == 2
    printed = capsys.readouterr()
    assert "4 of 5 jobs are in" in printed.out
    assert "gone.png" in printed.err
    assert facts(tmp_path, 2)["status"] == "failed"
    assert "gone.png" in facts(tmp_path, 2)["error"]
    assert facts(tmp_path, 3)["status"] == "done"
    assert facts(tmp_path, 3)["max_change_outside_feathered_mask"] == 0
    assert (tmp_path / "steps" / "3" / "panel.png").is_file()
    # A job is what the single command makes of it, to the float tolerance of another batch.
    image, mask, reference = (str(jobs.parent / f"{name}.png") for name in (3, "mask", "r"))
    assert typed(image=image, mask=mask, reference=reference) == 0
    alone, together = (read_image(tmp_path / name) for name in ("refined.png", "out/3.png"))
    assert np.abs(alone.astype(int) - together.astype(int)).max() <= 1


def test_the_same_command_does_only_what_is_missing(
    run: Run, jobs: Path, tmp_path: Path, capsys: Any, write: Any, hole: Any, monkeypatch: Any
) -> None:
    refined: list[str] = []
    original = job_runner._refine

    def watched(pipeline: Any, cases: Any, settings: Any) -> Any:
        refined.extend(case.id for case in cases)
        return original(pipeline, cases, settings)

    monkeypatch.setattr(job_runner, "_refine", watched)
    run()
    assert sorted(refined) == ["0", "1", "3", "4"]
    (tmp_path / "out" / "1.json").write_text("{")  # a full disk
    (tmp_path / "out" / "3.png").unlink()
    write("in/gone.png", hole())
    refined.clear()
    assert run() == 0
    assert sorted(refined) == ["1", "2", "3"]
    assert "2 of 5 jobs are done already" in capsys.readouterr().out
    refined.clear()
    assert run() == 0
    assert refined == []
    write("in/0.png", read_image(tmp_path / "in" / "4.png"))
    assert run() == 0
    assert refined == ["0"]
    refined.clear()
    assert run(seed=1) == 0
    assert len(refined) == 5


def test_a_job_that_the_network_cannot_do_does_not_stop_its_batch(
    run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    original = job_runner._refine

    def fragile(pipeline: Any, cases: Any, settings: Any) -> Any:
        if any(case.id == "1" for case in cases):
            raise RuntimeError("out of memory")
        return original(pipeline, cases, settings)

    monkeypatch.setattr(job_runner, "_refine", fragile)
    assert run() == 2
    assert facts(tmp_path, 0)["status"] == "done"
    assert facts(tmp_path, 1)["error"] == "RuntimeError: out of memory"
    assert "fragile" in facts(tmp_path, 1)["traceback"]


def test_mistakes_before_the_model_is_opened(
    run: Run, jobs: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(job_devices.RefineByAlignPipeline, "open", lambda *_: pytest.fail("opened"))
    for changes, words in (
        ({"output": jobs.parent}, "would replace an input"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"device": "cpu,abacus"}, "abacus"),
        ({"jobs": tmp_path / "none.csv"}, "does not exist"),
        ({"model": tmp_path}, "is no model directory"),
        ({"image": "x.png"}, "--image and --jobs contradict"),
        ({"reference_mask": "x.png"}, "--reference-mask and --jobs contradict"),
        ({"jobs": None}, "--image is missing"),
    ):
        assert run(**changes) == 2
        assert words in capsys.readouterr().err


def test_a_picture_that_changes_while_it_is_refined_is_done_again(
    run: Run, tmp_path: Path, monkeypatch: Any, write: Any
) -> None:
    original, starts = job_runner._refine, [list[str]()]

    def slow(pipeline: Any, cases: Any, settings: Any) -> Any:
        starts[-1].extend(case.id for case in cases)
        if len(starts) == 1 and cases[0].id == "0":
            write("in/0.png", read_image(tmp_path / "in" / "4.png"))
        return original(pipeline, cases, settings)

    monkeypatch.setattr(job_runner, "_refine", slow)
    run()
    starts.append([])
    run()
    assert starts[1] == ["0"]


@pytest.mark.slow
def test_two_devices_share_the_jobs_and_one_that_dies_takes_only_its_own(
    run: Run, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    assert run(device="cpu,cpu", batch_size=1) == 2
    assert [facts(tmp_path, name)["status"] for name in (0, 1, 3, 4)] == ["done"] * 4
    outcomes: list[Any] = []
    original = job_devices._hand_out

    def killing(workers: Any, waiting: Any) -> Any:
        workers[0].process.kill()
        for outcome in original(workers, waiting):
            outcomes.append(outcome)
            yield outcome

    monkeypatch.setattr(job_devices, "_hand_out", killing)
    assert run(device="cpu,cpu", batch_size=1, seed=1) == 2
    ended = [outcome for outcome in outcomes if "exit code -9" in str(outcome.error)]
    assert 1 <= len(ended) <= 2
    assert len(outcomes) == 5
