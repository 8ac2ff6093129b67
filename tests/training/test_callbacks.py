"""Recording samples, keeping checkpoints, drawing pictures."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rba.batch import Batch, Mode
from rba.errors import InputError, RunStoppedError
from rba.training.callbacks.best_checkpoint import BestCheckpoint
from rba.training.callbacks.pictures import overlays, picture_grid
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.callbacks.sample_recorder import SampleRecorder
from rba.training.module import RefineByAlignModule


class FakeTrainer(SimpleNamespace):
    world_size = 1

    def __init__(self) -> None:
        super().__init__(global_step=0, global_rank=0, is_global_zero=True)
        self.strategy = SimpleNamespace(
            barrier=lambda name: None,
            broadcast=lambda value: value,
            reduce_boolean_decision=lambda decision, all: decision,
            checkpoint_io=SimpleNamespace(save_checkpoint=self.write),
        )
        self._checkpoint_connector = SimpleNamespace(
            dump_checkpoint=lambda weights_only: {"loops": {}}
        )
        self.fit_loop = SimpleNamespace(state_dict=dict)
        self.saved: list[Path] = []
        self.is_full = False

    def write(self, checkpoint: dict, path: Path) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
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
    # Before the step: whatever is killed later, its line stands.
    recorder.on_train_batch_start(trainer, None, make_batch(Mode.REFINEMENT, size=2), 0)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in kept] == [0, 1, 2, 3]
    assert kept[-1] == {
        "step": 3,
        "rank": 0,
        "mode": "refinement",
        "sample_ids": ["made/0/0", "made/0/1"],
    }


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("keep", "left"), [(2, [6, 8]), (1, [8]), (-1, [3, 6, 8])])
def test_checkpoints_at_the_interval_and_the_end_the_newest_kept(
    tmp_path: Path, keep: int, left: list[int], background: bool
) -> None:
    trainer = FakeTrainer()
    callback = ResumeCheckpoint(tmp_path / "c", every_n_steps=3, keep=keep, background=background)
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


def test_checkpoints_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    callback = ResumeCheckpoint(tmp_path / "c", every_n_steps=6, keep=-1, every_n_minutes=0.5)
    trainer = FakeTrainer()
    callback.on_train_start(trainer, None)
    for step in range(1, 13):  # 10 s each
        trainer.global_step, clock[0] = step, 10.0 * step
        callback.on_train_batch_end(trainer, None, None, None, step)
    steps = [int(p.stem[5:]) for p in list_checkpoints(tmp_path / "c")]
    assert steps == [3, 6, 9, 12]
    clock[0] += 29.0
    trainer.global_step = 13
    callback.on_train_batch_end(trainer, None, None, None, 13)
    assert len(trainer.saved) == 4


@pytest.mark.parametrize(
    "settings", [{"every_n_minutes": 0.0}, {"max_failures": 0}, {"keep": 0}, {"every_n_steps": 0}]
)
def test_settings_that_would_save_nothing_are_refused(tmp_path: Path, settings: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))}=0"):
        ResumeCheckpoint(tmp_path, **({"every_n_steps": 1} | settings))


def test_a_full_disk_is_borne_until_too_many_saves_in_a_row_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = ResumeCheckpoint(tmp_path / "c", every_n_steps=1, keep=1, max_failures=3)
    trainer = FakeTrainer()
    callback.on_train_start(trainer, None)

    def step(number: int, *, full: bool) -> None:
        trainer.global_step, trainer.is_full = number, full
        callback.on_train_batch_end(trainer, None, None, None, number)

    for number, full in enumerate((False, True, True, False, True, True), start=1):
        step(number, full=full)
    assert [int(p.stem[5:]) for p in list_checkpoints(tmp_path / "c")] == [4]
    assert len(caplog.records) == 4
    assert "No space left on device; the last good checkpoint: step 4" in caplog.messages[-1]
    with pytest.raises(RunStoppedError, match=r"3 checkpoints in a row.*last good .*: step 4"):
        step(7, full=True)


def test_the_last_step_must_be_saved(tmp_path: Path) -> None:
    callback, trainer = ResumeCheckpoint(tmp_path / "c", every_n_steps=9), FakeTrainer()
    callback.on_train_start(trainer, None)
    trainer.global_step, trainer.is_full = 1, True
    callback.on_train_batch_end(trainer, None, None, None, 1)
    with pytest.raises(RunStoppedError, match=r"the last step could not be saved.*: none"):
        callback.on_train_end(trainer, None)


def test_a_later_damaged_one_does_not_push_out_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "step_00000009.ckpt").write_text("damaged")
    callback, trainer = ResumeCheckpoint(tmp_path, every_n_steps=5, keep=1), FakeTrainer()
    callback.on_train_start(trainer, None)
    trainer.global_step = 5
    callback.on_train_batch_end(trainer, None, None, None, 5)
    assert trainer.saved[0].exists()


def test_the_best_validation_is_kept_over_a_resume_and_apart(tmp_path: Path) -> None:
    trainer, saved = FakeTrainer(), []
    callback = BestCheckpoint(tmp_path)

    def validate(step: int, *values: float) -> None:
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, step)
        names = [f"validation/miou_{mode.value}" for mode in Mode]
        trainer.callback_metrics = dict(zip(names, map(torch.tensor, values), strict=False))
        trainer.callback_metrics["validation/miou_layer00_alignment"] = torch.tensor(1.0)
        callback.on_validation_end(trainer, None)
        saved.append(len(trainer.saved))

    validate(1, 0.2, 0.4)
    validate(2, 0.5, 0.1)  # the mean is no better
    validate(3, float("nan"))
    validate(4)
    validate(5, 0.31)
    assert saved == [1, 1, 1, 1, 2]
    assert callback.state_dict() == {"miou": pytest.approx(0.31)}
    state, callback = callback.state_dict(), BestCheckpoint(tmp_path)
    callback.load_state_dict(state)
    validate(6, 0.305)
    trainer.is_full = True
    validate(7, 0.9)
    trainer.is_full = False
    validate(8, 0.8)
    assert saved[5:] == [2, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert list_checkpoints(tmp_path) == []


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
    assert grid.shape == (26 + 3 * 132, 5 * 132, 3)
    assert grid.dtype == np.uint8
    assert all((grid[:26, 132 * i : 132 * i + 132] < 64).any() for i in range(5))  # titles
    grid = grid[26:]
    target, output = grid[2:130, 2:130], grid[2:130, 4 * 132 + 2 : 4 * 132 + 130]
    assert np.array_equal(target[:28], output[:28])  # above the hole
    assert not np.array_equal(target[32:64, 48:80], output[32:64, 48:80])
