"""The demo: the commands it puts together, and at its smallest every step for real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from rba import demo as demo_module
from rba.demo import Demo
from rba.errors import InputError
from rba.models import shipped
from rba.settings import build, compose_config
from rba.workflow.steps import Command

SMALLEST = [
    "rendered.train.count=6",
    "rendered.train.num_photos=6",
    "rendered.calibration.count=3",
    "rendered.test.count=4",
    "rendered.workers=1",
    "max_steps=4",
    "stop_at=2",
    "evaluation.calibration_steps='0'",
    "evaluation.refine=4",
    "evaluation.steps=2",
    "train_overrides=['global_batch=2','per_device_batch=2','data.num_workers=0']",
]


def make_demo(out: Path, *overrides: str) -> Demo:
    return Demo(build(compose_config("demo", [f"out={out}", *overrides])))


def run_demo(out: Path, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rba.demo", f"out={out}", *SMALLEST, *overrides],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    """The commands of a demo, which are not run."""
    commands: list[Command] = []
    monkeypatch.setattr(demo_module, "run_command", commands.append)
    return commands


@pytest.mark.slow
def test_the_demo_writes_panel_and_figures_in_their_form(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "demo"
    run_demo(out, "from_scratch=true")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["num_pairs"] == 4
    assert set(metrics["alignment"]) == {"model", "uniform", "same_position", "cross_correlation"}
    for scores in metrics["alignment"].values():
        low, high = scores["miou_interval"]
        assert 0 <= low <= scores["miou"] <= high <= 1
        assert 0 <= scores["hit_rate"] <= 1
    assert set(metrics["refinement"]) == {
        "defect",
        "right_reference",
        "true_region",
        "whole_reference",
        "wrong_reference",
        "no_reference",
    }
    for scores in metrics["refinement"].values():
        assert {"psnr_in_hole", "ssim_in_hole"} <= set(scores)
    assert metrics["max_change_outside_mask"] == 0
    assert metrics["median_feathered_area_share"] > metrics["median_artifact_area_share"]
    assert metrics["seconds"]["demo_train"] > 0
    assert cv2.imread(str(out / "panel.png")).shape[0] > 300
    assert (out / "example" / "refined.png").is_file()
    model = json.loads((out / "model" / "model_index.json").read_text())
    assert model["layer"] == metrics["calibration"]["layer"]
    rows = (out / "metrics.csv").read_text().splitlines()
    assert len(rows) >= 2
    # The model that came out is one that the demo starts from as well.
    again = tmp_path / "runs" / "again"
    assert f"init_from={out}/model" in run_demo(again, f"init_from={out}/model")
    assert (again / "metrics.json").is_file()


def test_training_starts_from_the_shipped_weights_and_resumes(
    tmp_path: Path, ran: list[Command]
) -> None:
    demo = make_demo(tmp_path / "runs" / "demo", "stop_at=20", "max_steps=50")
    demo.train()
    demo.resume()
    first, second = (compose_config("train", command[1:]) for command in ran)
    assert (first.init_from, first.max_steps, first.resume) == ("tiny", 20, None)
    assert (second.init_from, second.max_steps, second.resume) == ("tiny", 50, "auto")
    assert first.optimizer.learning_rates.unet == 2e-4
    assert (first.runs_folder, first.run_name) == (f"{tmp_path}/runs", "demo")
    assert first.seed == second.seed == demo.settings.seed


def test_from_scratch_no_weights_are_taken(tmp_path: Path, ran: list[Command]) -> None:
    make_demo(tmp_path, "from_scratch=true").train()
    scratch = compose_config("train", ran[0][1:])
    usual = compose_config(
        "train", ["experiment=tiny", "data.alignment.shards=a", "data.refinement.shards=b"]
    )
    assert scratch.init_from is None
    assert scratch.optimizer == usual.optimizer


def test_the_data_are_new_to_the_shipped_model(tmp_path: Path, ran: list[Command]) -> None:
    demo = make_demo(tmp_path)
    demo.render()
    demo.shards()
    assert len(ran) == 6
    seeds = {int(word.removeprefix("seed=")) for c in ran for word in c if word[:5] == "seed="}
    shipped_model = build(compose_config("tiny_model")).rendered
    others = (shipped_model.train, shipped_model.calibration, shipped_model.test)
    assert not seeds & {settings["seed"] for settings in others}


def test_export_evaluation_and_seed_are_the_demos(
    tmp_path: Path, ran: list[Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = make_demo(tmp_path, "max_steps=50", "seed=7", "evaluation.refine=3")
    demo.export()
    demo.evaluate()
    export, evaluate = ran
    assert f"--checkpoint={tmp_path}/checkpoints/step_00000050.ckpt" in export
    assert {f"--model={tmp_path}/model", "--seed=7", "--refine=3"} <= set(evaluate)


def test_without_shipped_weights_the_way_out_is_named(
    tmp_path: Path, ran: list[Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "demo"
    with pytest.raises(InputError, match="make demo FROM_SCRATCH=1"):
        make_demo(out).run()
    assert not out.exists()
    assert ran == []


def test_the_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not of an earlier demo"):
        make_demo(tmp_path, "from_scratch=true").run()
    assert (tmp_path / "thesis.txt").is_file()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_steps=many", "max_steps=many must be a whole number"),
        ("from_scratch=perhaps", "from_scratch=perhaps must be true or false"),
        ("num_shown=3", "num_shown"),
    ],
)
def test_a_mistyped_setting_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_demo(tmp_path, override)
