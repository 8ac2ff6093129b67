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
from rba.training.agreement import LateAgreement
from rba.training.background import (
    Background,
    available_memory,
    main_memory_copy,
    tensor_bytes,
)
from rba.training.save_state import dump_state, write_state

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

    In the background, the state is copied to main memory and a thread writes it while the steps go
    on; whether that worked is known at the next save, which waits for it, as do the end of training
    and the save after an error or a signal. Where memory for the copy is short, the step waits.

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
        every_n_minutes: Save too at the first step's end so many minutes after the last save;
            several ranks at the second.
        max_failures: How many saves may fail in a row.
        background: Write while the next steps run; rank 0 needs main memory for one more state.

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
        background: bool = False,
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
        self.background = background
        self._writer = Background()  # of rank 0
        self._pending_step: int | None = None  # on all ranks: saved, but not known whether well
        self._failures = 0  # in a row
        self._late = LateAgreement()
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
        self._settle(trainer)
        if trainer.global_step != self._saved_step:
            self._save(trainer, may_fail=False)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the last whole step, if that can be done without the other ranks."""
        alone = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        together = isinstance(exception, RunInterruptedError)  # all ranks are here
        before, self._pending_step = self._pending_step, None
        if before is not None and self._writer.settle() is None and trainer.is_global_zero:
            self._saved_step = before
        due = trainer.strategy.broadcast(self._saved_step) if together else self._saved_step
        if self._loops is None or self._step == due or not (alone or together):
            return
        # A step of several micro-batches may be half done: the loops as they were after the last.
        # `save_state` would wait for the other ranks.
        problem = self._write(trainer, dump_state(trainer, self._loops), self._step)
        if problem is None:
            self._saved_step = self._step
        else:  # must not hide why the run ends
            _log.warning("no checkpoint of step %d: %s", self._step, problem)
        if together:  # a launcher ends the other ranks as soon as one has left
            trainer.strategy.barrier("resume_checkpoint")

    def _is_time(self, trainer: Trainer) -> bool:
        """Agree on whether enough minutes have passed on any rank."""
        if self.every_n_minutes is None:
            return False
        due = time.monotonic() - self._saved_at >= 60 * self.every_n_minutes
        if trainer.world_size == 1:
            return due
        return bool(self._late.exchange(int(due), trainer.strategy.root_device))

    def _save(self, trainer: Trainer, *, may_fail: bool) -> None:
        self._settle(trainer)
        step = trainer.global_step
        checkpoint = dump_state(trainer, None)
        if self.background and may_fail:
            if trainer.is_global_zero:
                self._begin(trainer, checkpoint, step)
            self._pending_step = step
        else:
            problem = trainer.strategy.broadcast(self._write(trainer, checkpoint, step))
            self._account(trainer, step, problem, may_fail=may_fail)
        self._saved_at = time.monotonic()  # after a failure too: not again at each step
        self._late.forget()  # that it was due

    def _begin(self, trainer: Trainer, checkpoint: dict[str, Any], step: int) -> None:
        """Write in the thread, or now, where a copy and as much again do not fit into memory."""
        if available_memory() > 2 * tensor_bytes(checkpoint):
            copied = main_memory_copy(checkpoint)
            self._writer.start(lambda: self._write(trainer, copied, step))
        else:
            problem = self._write(trainer, checkpoint, step)
            self._writer.start(lambda: problem)

    def _write(self, trainer: Trainer, checkpoint: dict[str, Any], step: int) -> str | None:
        """Write on rank 0, and drop what is too old; return why that failed, if it did."""
        problem = write_state(trainer, checkpoint, self._path(step))
        if problem is None and trainer.is_global_zero:
            self._drop_old(step)
        return problem

    def _settle(self, trainer: Trainer) -> None:
        """Wait for a save in the background; all ranks call this."""
        if self._pending_step is not None:
            step, self._pending_step = self._pending_step, None
            problem = trainer.strategy.broadcast(self._writer.settle())
            self._account(trainer, step, problem, may_fail=True)

    def _account(self, trainer: Trainer, step: int, problem: str | None, *, may_fail: bool) -> None:
        if problem is None:
            self._saved_step, self._failures = step, 0
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

    def _drop_old(self, step: int) -> None:
        if self.keep >= 0:
            # A damaged one that the run stepped back past is of a later step: it does not count.
            paths = [path for path in list_checkpoints(self.folder) if _step_of(path) <= step]
            try:
                for path in paths[: -self.keep or None]:
                    path.unlink()
            except OSError as error:  # the new one is there
                _log.warning("an old checkpoint stays: %s", error)
