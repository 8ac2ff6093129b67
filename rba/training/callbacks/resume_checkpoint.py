"""Checkpoints to resume from: at intervals, at the end and on an error; the newest few kept."""

import copy
import logging
import re
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from rba.errors import InputError, RunInterruptedError, RunStoppedError
from rba.training.save_state import dump_state, save_state, write_state

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d+)\.ckpt")


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Return a run's checkpoints, oldest step first."""
    found = [
        (int(m.group(1)), path)
        for path in Path(folder).glob("step_*.ckpt")
        if (m := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))


class ResumeCheckpoint(Callback):
    """Save ``step_NNNNNNNN.ckpt`` by steps and minutes, at the end of training and on an error.

    Where a checkpoint cannot be written (a full disk), the run goes on with a warning and the last
    good one. It ends after ``max_failures`` in a row, and where the last step cannot be saved.

    On an error (no answer from the storage, a dead loader worker, too many bad samples) rank 0
    saves the last whole step alone, as the other ranks may be gone: on one device and under plain
    DDP, where it holds all that is to be saved. An error between the gradients and the end of the
    step saves nothing: weights and averages could be of two steps. Where a signal ends the run, all
    ranks save together.

    Lightning's `ModelCheckpoint` waits for a validation where a metric is monitored and saves
    nothing at the end where ``max_steps`` is no multiple; resuming must depend on neither.

    Args:
        folder: Where checkpoints go.
        every_n_steps: Interval in optimiser steps.
        keep: How many of the newest stay; -1 = all.
        every_n_minutes: Save too at the first step's end so many minutes after the last save.
        max_failures: How many saves may fail in a row.

    Raises:
        InputError: If no step, or no checkpoint, would be kept, or an interval is not positive.
    """

    def __init__(
        self,
        folder: str | Path,
        every_n_steps: int,
        keep: int = 2,
        every_n_minutes: float | None = None,
        max_failures: int = 3,
    ) -> None:
        if every_n_steps < 1 or (keep < 1 and keep != -1):
            raise InputError(
                f"callbacks.resume_checkpoint: every_n_steps={every_n_steps} keep={keep}; give at "
                "least 1 each, or keep=-1 for all"
            )
        if max_failures < 1 or (every_n_minutes is not None and every_n_minutes <= 0):
            raise InputError(
                f"callbacks.resume_checkpoint: every_n_minutes={every_n_minutes} max_failures="
                f"{max_failures}; give minutes above 0 or null, and at least 1 failure"
            )
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.keep = keep
        self.every_n_minutes = every_n_minutes
        self.max_failures = max_failures
        self._failures = 0  # in a row
        self._saved_step = -1
        self._saved_at = 0.0  # seconds
        self._step = -1
        self._loops: dict[str, Any] | None = None  # as after the last whole step; None within one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where the run starts: that step needs no new checkpoint."""
        self._saved_step = self._step = trainer.global_step
        self._saved_at = time.monotonic()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """From here on the weights are of no whole step."""
        self._loops = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step that is a multiple of the interval, or when it is time."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        self._loops = copy.deepcopy(trainer.fit_loop.state_dict())
        if step % self.every_n_steps == 0 or self._is_time(trainer):
            self._save(trainer, may_fail=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step."""
        if trainer.global_step != self._saved_step:
            self._save(trainer, may_fail=False)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the last whole step, if that can be done without the other ranks."""
        alone = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        together = isinstance(exception, RunInterruptedError)  # all ranks are here
        if self._loops is None or self._step == self._saved_step or not (alone or together):
            return
        # A step of several micro-batches may be half done: the loops as they were after the last.
        # `save_state` would wait for the other ranks.
        problem = write_state(trainer, dump_state(trainer, self._loops), self._path(self._step))
        if problem is None:
            self._saved_step = self._step
            self._drop_old(trainer)
        else:  # must not hide why the run ends
            _log.warning("no checkpoint of step %d: %s", self._step, problem)
        if together:  # a launcher ends the other ranks as soon as one has left
            trainer.strategy.barrier("resume_checkpoint")

    def _is_time(self, trainer: Trainer) -> bool:
        """Agree on whether enough minutes have passed on any rank."""
        if self.every_n_minutes is None:
            return False
        due = time.monotonic() - self._saved_at >= 60 * self.every_n_minutes
        return trainer.strategy.reduce_boolean_decision(due, all=False)

    def _save(self, trainer: Trainer, *, may_fail: bool) -> None:
        step = trainer.global_step
        problem = save_state(trainer, self._path(step), None)
        self._saved_at = time.monotonic()  # after a failure too: not again at each step
        if problem is None:
            self._saved_step, self._failures = step, 0
            self._drop_old(trainer)
            return
        self._failures += 1
        last = f"step {self._saved_step}" if list_checkpoints(self.folder) else "none"
        words = f"{problem}; the last good checkpoint: {last}"
        if not may_fail:
            raise RunStoppedError(f"the last step could not be saved: {words}; resume=auto goes on")
        if self._failures >= self.max_failures:
            raise RunStoppedError(
                f"{self._failures} checkpoints in a row could not be saved: {words}; "
                "make room, then resume=auto goes on"
            )
        if trainer.is_global_zero:
            _log.warning(
                "checkpoint %d of %d in a row that may fail: %s",
                self._failures, self.max_failures - 1, words,
            )  # fmt: skip

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}.ckpt"

    def _drop_old(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.keep >= 0:
            # A damaged one that the run stepped back past is of a later step: it does not count.
            paths = [p for p in list_checkpoints(self.folder) if _step_of(p) <= self._saved_step]
            for path in paths[: -self.keep or None]:
                path.unlink()
