"""Curves over stages: one table against samples seen."""

from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.evaluation.curves import StageLog, best_layers, join_curves, plot_curves


@pytest.fixture
def logs(tmp_path: Path) -> list[StageLog]:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(
        "epoch,step,train/loss_alignment,train/loss_alignment_t000-249,train/lr_unet,"
        "validation/miou_layer03_refinement,validation/miou_layer15_refinement,"
        "validation/loss_refinement,validation/miou_refinement\n"
        ",2,4.0,1.0,0.1,,,,\n"
        ",4,2.0,1.0,0.1,,,,\n"
        "0,4,,,,0.1,0.3,0.5,0.3\n"
        ",,9.0,,,,,,\n"
    )
    second.write_text("step,train/loss_refinement,train/loss_in_hole_refinement\n3,1.0,0.5\n")
    return [
        StageLog(name="one", metrics=first, global_batch=8, max_steps=4),
        StageLog(name="two", metrics=second, global_batch=16, max_steps=3),
    ]


def test_stages_are_joined_over_samples(logs: list[StageLog]) -> None:
    assert join_curves(logs) == [
        {"stage": "one", "step": 2, "samples": 16, "loss_alignment": 4.0},
        {
            "stage": "one",
            "step": 4,
            "samples": 32,
            "loss_alignment": 2.0,
            "miou_layer03_refinement": 0.1,
            "miou_layer15_refinement": 0.3,
            "validation_loss_refinement": 0.5,
            "miou_refinement": 0.3,
        },
        {
            "stage": "two",
            "step": 3,
            "samples": 32 + 48,
            "loss_refinement": 1.0,
            "loss_in_hole_refinement": 0.5,
        },
    ]


def test_the_best_layers_are_those_of_the_last_validation(logs: list[StageLog]) -> None:
    rows = join_curves(logs)
    assert best_layers(rows) == ["miou_layer15_refinement", "miou_layer03_refinement"]
    assert best_layers(rows, 1) == ["miou_layer15_refinement"]
    assert best_layers(rows[:1]) == []


def test_curves_are_drawn_with_and_without_validations(logs: list[StageLog]) -> None:
    rows = join_curves(logs)
    whole, bare = plot_curves(rows), plot_curves(rows[:1])
    assert whole.dtype == np.uint8
    assert whole.shape == bare.shape == (400, 1000, 3)
    assert not np.array_equal(whole, bare)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    log = StageLog(name="a", metrics=tmp_path / "metrics.csv", global_batch=1, max_steps=1)
    with pytest.raises(InputError, match=r"metrics\.csv is missing"):
        join_curves([log])
