"""Checkpoints to resume from: every n steps, at the end and on an error; the newest few kept."""

import copy
import logging
import re
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from rba.errors import InputError, RunInterruptedError

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


class ResumeCheckpoint(Callback):
    """Save ``step_NNNNNNNN.ckpt`` every n optimiser steps, at the end of training and on an error.

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

    Raises:
        InputError: If no step, or no checkpoint, would be kept.
    """

    def __init__(self, folder: str | Path, every_n_steps: int, keep: int = 2) -> None:
        if every_n_steps < 1 or (keep < 1 and keep != -1):
            raise InputError(
                f"callbacks.resume_checkpoint: every_n_steps={every_n_steps} keep={keep}; give at "
                "least 1 each, or keep=-1 for all"
            )
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.keep = keep
        self._saved_step = -1
        self._step = -1
        self._loops: dict[str, Any] | None = None  # as after the last whole step; None within one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where the run starts: that step needs no new checkpoint."""
        self._saved_step = self._step = trainer.global_step

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """From here on the weights are of no whole step."""
        self._loops = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step that is a multiple of the interval."""
        step = trainer.global_step
        if step != self._step:
            self._step = step
            self._loops = copy.deepcopy(trainer.fit_loop.state_dict())
        if step != self._saved_step and step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the last whole step, if that can be done without the other ranks."""
        alone = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        together = isinstance(exception, RunInterruptedError)  # all ranks are here
        if self._loops is None or self._step == self._saved_step or not (alone or together):
            return
        # A step of several micro-batches may be half done: the loops as they were after the last.
        # Trainer.save_checkpoint would wait for the other ranks.
        connector: Any = trainer._checkpoint_connector  # pyright: ignore
        checkpoint = connector.dump_checkpoint(weights_only=False)
        checkpoint["loops"]["fit_loop"] = self._loops
        try:
            trainer.strategy.save_checkpoint(checkpoint, self._path(self._step))
        except OSError as error:  # must not hide why the run ends
            _log.warning("no checkpoint of step %d: %s", self._step, error)
        else:
            self._saved_step = self._step
            self._drop_old(trainer)
        if together:  # a launcher ends the other ranks as soon as one has left
            trainer.strategy.barrier("resume_checkpoint")

    def _save(self, trainer: Trainer) -> None:
        self._saved_step = trainer.global_step
        # False: optimiser, callbacks and loops too, in plain containers all the same
        trainer.save_checkpoint(self._path(trainer.global_step), weights_only=False)
        self._drop_old(trainer)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}.ckpt"

    def _drop_old(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.keep >= 0:
            for path in list_checkpoints(self.folder)[: -self.keep or None]:
                path.unlink()
