"""The demo at its smallest: every step, and the form of what it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

SMALLEST = [
    "train_objects=6",
    "calibration_objects=3",
    "test_objects=4",
    "num_photos=6",
    "max_steps=4",
    "stop_at=2",
    "calibration_steps=[0]",
    "num_refined=4",
    "num_shown=3",
    "refine_steps=2",
    "train_overrides=['global_batch=2','per_device_batch=2','data.num_workers=0']",
]


@pytest.mark.slow
def test_the_demo_writes_panel_and_figures_in_their_form(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "rba.demo", f"out={out}", *SMALLEST],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
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
    model = json.loads((out / "model" / "model_index.json").read_text())
    assert model["layer"] == metrics["calibration"]["layer"]
    rows = (out / "metrics.csv").read_text().splitlines()
    assert len(rows) >= 2


def test_the_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    from rba.demo import Demo
    from rba.errors import InputError
    from rba.settings import compose_config

    (tmp_path / "thesis.txt").write_text("years of work")
    demo = Demo(compose_config("demo", [f"out={tmp_path}"]))
    with pytest.raises(InputError, match="not of an earlier demo"):
        demo.run()
    assert (tmp_path / "thesis.txt").is_file()
