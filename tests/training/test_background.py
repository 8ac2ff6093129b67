"""Checkpoints that a thread writes: the state of their step, waited for, failures told."""

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rba.errors import RunInterruptedError, RunStoppedError
from rba.training.background import main_memory_copy, tensor_bytes
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.checkpoint_io import AtomicCheckpointIO


class SlowDisk(AtomicCheckpointIO):
    """Writes when it is let, as a slow disk does."""

    def __init__(self) -> None:
        self.may_write = threading.Event()
        self.is_full = False
        self.threads: list[str] = []

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        assert self.may_write.wait(20)
        self.threads.append(threading.current_thread().name)
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path)


class FakeTrainer(SimpleNamespace):
    """One rank; its whole state is a weight that each step changes in place."""

    def __init__(self) -> None:
        super().__init__(global_step=0, is_global_zero=True)
        self.weight, self.disk = torch.zeros(3), SlowDisk()
        self.strategy = SimpleNamespace(
            barrier=lambda name: None, broadcast=lambda value: value, checkpoint_io=self.disk
        )
        dump = SimpleNamespace(dump_checkpoint=self.dump)
        self._checkpoint_connector = dump
        self.fit_loop = SimpleNamespace(state_dict=dict)

    def dump(self, weights_only: bool) -> dict[str, Any]:
        return {"state_dict": {"weight": self.weight}, "loops": {"fit_loop": {}}}

    def step(self, callback: ResumeCheckpoint) -> None:
        self.weight += 1
        self.global_step += 1
        callback.on_before_optimizer_step(self, None, None)  # pyright: ignore
        callback.on_train_batch_end(self, None, None, None, 0)  # pyright: ignore


@pytest.fixture
def trainer() -> FakeTrainer:
    return FakeTrainer()


@pytest.fixture
def callback(tmp_path: Path, trainer: FakeTrainer) -> ResumeCheckpoint:
    made = ResumeCheckpoint(tmp_path, every_n_steps=2, keep=-1, max_failures=2, background=True)
    made.on_train_start(trainer, None)  # pyright: ignore
    return made


def weights(folder: Path) -> dict[int, float]:
    return {
        int(path.stem[5:]): float(torch.load(path, weights_only=True)["state_dict"]["weight"][0])
        for path in list_checkpoints(folder)
    }


def test_the_steps_go_on_and_each_file_holds_its_own_step(
    tmp_path: Path, trainer: FakeTrainer, callback: ResumeCheckpoint
) -> None:
    for _ in range(3):
        trainer.step(callback)
    assert weights(tmp_path) == {}  # the disk has not moved, three steps are done
    trainer.disk.may_write.set()
    for _ in range(2):
        trainer.step(callback)
    callback.on_train_end(trainer, None)  # pyright: ignore
    assert weights(tmp_path) == {2: 2.0, 4: 4.0, 5: 5.0}
    assert [name.startswith("checkpoint") for name in trainer.disk.threads] == [True, True, False]


def test_a_signal_waits_for_the_save_in_progress_and_saves_its_own_step(
    tmp_path: Path, trainer: FakeTrainer, callback: ResumeCheckpoint
) -> None:
    for _ in range(3):
        trainer.step(callback)
    threading.Timer(0.2, trainer.disk.may_write.set).start()
    callback.on_exception(trainer, None, RunInterruptedError("", "SIGTERM"))  # pyright: ignore
    assert weights(tmp_path) == {2: 2.0, 3: 3.0}


def test_a_signal_after_a_saved_step_writes_it_once(
    tmp_path: Path, trainer: FakeTrainer, callback: ResumeCheckpoint
) -> None:
    trainer.disk.may_write.set()
    for _ in range(2):
        trainer.step(callback)
    callback.on_exception(trainer, None, RunInterruptedError("", "SIGTERM"))  # pyright: ignore
    assert weights(tmp_path) == {2: 2.0}
    assert len(trainer.disk.threads) == 1


def test_a_full_disk_is_told_at_the_next_save_and_ends_the_run_in_the_end(
    tmp_path: Path,
    trainer: FakeTrainer,
    callback: ResumeCheckpoint,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer.disk.may_write.set()
    trainer.disk.is_full = True
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            trainer.step(callback)
    assert "No space left on device; the last good checkpoint: none" in caplog.text
    with pytest.raises(RunStoppedError, match="2 checkpoints in a row could not be saved"):
        trainer.step(callback)
    assert weights(tmp_path) == {}


def test_short_of_memory_the_step_waits(
    tmp_path: Path,
    trainer: FakeTrainer,
    callback: ResumeCheckpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = "rba.training.callbacks.resume_checkpoint.available_memory"
    monkeypatch.setattr(place, lambda: 2.0 * trainer.weight.nbytes)
    trainer.disk.may_write.set()
    for _ in range(2):
        trainer.step(callback)
    assert weights(tmp_path) == {2: 2.0}
    assert trainer.disk.threads == ["MainThread"]


def test_a_copy_shares_no_memory() -> None:
    tree: dict[str, Any] = {"a": [torch.zeros(2), (torch.ones(3), "x")], "b": {"c": 1}}
    copied = main_memory_copy(tree)
    tree["a"][0] += 1
    assert copied["a"][0].tolist() == [0, 0]
    assert copied["a"][1][1] == "x"
    assert copied["b"] == {"c": 1}
    assert tensor_bytes(tree) == 4 * 5
