"""The run's logs on a full disk (stood in for by a limit on a file's size): it goes on."""

import csv
import logging
import resource
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rba.batch import Batch
from rba.training import tensorboard_log
from rba.training.callbacks.sample_recorder import SampleRecorder
from rba.training.csv_log import ResumableCSVLogger
from rba.training.disk_faults import DiskFaults
from rba.training.step_lines import whole_lines
from rba.training.tensorboard_log import EnduringTensorBoardLogger


@contextmanager
def full(size: int) -> Generator[None]:
    """Let no file grow beyond a size in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failures_are_counted_and_told_at_powers_of_two(caplog: pytest.LogCaptureFixture) -> None:
    faults = DiskFaults("the file")
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            with faults.borne():
                raise OSError(28, "No space left on device")
    assert faults.count == 9
    told = [message.split(", ")[1] for message in caplog.messages]
    assert told == ["1 times so far", "2 times so far", "4 times so far", "8 times so far"]


def test_rows_of_metrics_wait_for_room_and_the_file_stays_whole(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(str(tmp_path), name="run", version="")
    path = tmp_path / "run" / "metrics.csv"
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.save()
    before = path.read_text()
    with full(path.stat().st_size + 3):
        logger.log_metrics({"loss": 2.0}, step=2)
        logger.save()
        assert path.read_text() == before
        logger.log_metrics({"loss": 3.0, "another": 7.0}, step=3)  # a new column: the file anew
        logger.save()
        assert path.read_text() == before
    logger.log_metrics({"loss": 4.0}, step=4)
    logger.save()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["another"] for row in rows] == ["", "", "7.0", ""]
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"]


def test_samples_that_cannot_be_listed_do_not_end_the_run(
    tmp_path: Path, make_batch: Callable[..., Batch], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "samples.jsonl"
    trainer: Any = SimpleNamespace(global_step=0, global_rank=0)
    recorder, batch, module = SampleRecorder(path), make_batch(size=2), torch.nn.Module()

    def step(number: int) -> None:
        trainer.global_step = number
        recorder.on_train_batch_start(trainer, module, batch, 0)  # pyright: ignore

    step(0)
    line = path.stat().st_size
    with full(line + line // 2), caplog.at_level(logging.WARNING):
        step(1)
    assert "not written, 1 times so far, the run goes on" in caplog.text
    step(2)
    with path.open("ab") as file:
        file.write(b'{"step": 3, "cut')
    lines = whole_lines(path)
    assert [facts["step"] for facts in lines] == [0, 2]
    assert lines[0]["sample_ids"] == list(batch.sample_ids)


def test_tensorboard_goes_on_in_a_new_file_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_log, "_ROOM", 8192)
    logger = EnduringTensorBoardLogger(str(tmp_path), name="run")
    logger._kwargs["purge_step"] = 1  # pyright: ignore
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.save()
    (first,) = (tmp_path / "run").glob("events*")
    with full(first.stat().st_size + 20):
        for step in range(2, 6):
            logger.log_metrics({"loss": float(step)}, step=step)
            logger.save()
    assert logger.faults.count >= 4
    logger.log_metrics({"loss": 6.0}, step=6)
    logger.finalize("success")
    assert len(list((tmp_path / "run").glob("events*"))) == 2
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 6]
