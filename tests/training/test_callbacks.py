"""Recording samples, keeping checkpoints, drawing pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rba.batch import Batch, Mode
from rba.training.callbacks.pictures import overlays, picture_grid
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.callbacks.sample_recorder import SampleRecorder
from rba.training.module import RefineByAlignModule


class FakeTrainer(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(global_step=0, global_rank=0, is_global_zero=True)
        self.strategy = SimpleNamespace(barrier=lambda name: None)
        self.fit_loop = SimpleNamespace(state_dict=dict)
        self.saved: list[Path] = []

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        self.saved.append(path)


def test_lines_past_the_resume_point_are_dropped(
    tmp_path: Path, make_batch: Callable[..., Batch]
) -> None:
    path = tmp_path / "samples.jsonl"
    lines = [{"step": s, "rank": 0, "mode": "alignment", "sample_ids": []} for s in range(5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 5, "ra')
    recorder, trainer = SampleRecorder(path), FakeTrainer()
    trainer.global_step = 3
    recorder.on_train_start(trainer, None)
    recorder.on_train_batch_start(trainer, None, None, 0)
    trainer.global_step = 4
    recorder.on_train_batch_end(trainer, None, None, make_batch(Mode.REFINEMENT, size=2), 0)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in kept] == [0, 1, 2, 3]
    assert kept[-1] == {
        "step": 3,
        "rank": 0,
        "mode": "refinement",
        "sample_ids": ["made/0/0", "made/0/1"],
    }


@pytest.mark.parametrize(("keep", "left"), [(2, [6, 8]), (1, [8]), (-1, [3, 6, 8])])
def test_checkpoints_at_the_interval_and_the_end_the_newest_kept(
    tmp_path: Path, keep: int, left: list[int]
) -> None:
    callback, trainer = ResumeCheckpoint(tmp_path / "c", every_n_steps=3, keep=keep), FakeTrainer()
    callback.on_train_start(trainer, None)
    for micro_batch in range(1, 17):  # two micro-batches a step
        trainer.global_step = micro_batch // 2
        callback.on_train_batch_end(trainer, None, None, None, micro_batch)
    callback.on_train_end(trainer, None)
    assert len(trainer.saved) == 3
    assert [int(p.stem[5:]) for p in list_checkpoints(tmp_path / "c")] == left


def test_a_run_that_did_nothing_saves_nothing(tmp_path: Path) -> None:
    callback, trainer = ResumeCheckpoint(tmp_path / "c", every_n_steps=3), FakeTrainer()
    trainer.global_step = 6
    callback.on_train_start(trainer, None)
    callback.on_train_end(trainer, None)
    assert trainer.saved == []


def test_overlay_is_brightest_where_the_map_is(make_batch: Callable[..., Batch]) -> None:
    maps = torch.zeros(4, 4, 4)
    maps[:, 1, 2] = 1.0
    picture = overlays(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), maps)[0].astype(int).sum(-1)
    rows, columns = np.nonzero(picture > picture.max() - 30)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 15, 16, 23)


def test_grid_shows_a_row_an_example_and_keeps_what_is_known(
    make_module: Callable[..., RefineByAlignModule], make_batch: Callable[..., Batch]
) -> None:
    from rba.training.validation import ValidationSettings

    module = make_module(validation=ValidationSettings(picture_steps=2))
    grid = picture_grid(module, make_batch(), torch.rand(4, 4, 4), count=3)
    assert grid.shape == (3 * 132, 5 * 132, 3)
    assert grid.dtype == np.uint8
    target, output = grid[2:130, 2:130], grid[2:130, 4 * 132 + 2 : 4 * 132 + 130]
    assert np.array_equal(target[:28], output[:28])  # above the hole
    assert not np.array_equal(target[32:64, 48:80], output[32:64, 48:80])
