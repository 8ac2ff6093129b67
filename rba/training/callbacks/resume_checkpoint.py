"""Checkpoints to resume from: every n steps and at the end, the newest few kept."""

import re
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rba.errors import InputError

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
    """Save ``step_NNNNNNNN.ckpt`` every n optimiser steps and at the end of training.

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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where the run starts: that step needs no new checkpoint."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step that is a multiple of the interval."""
        step = trainer.global_step
        if step != self._saved_step and step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved_step = trainer.global_step
        path = self.folder / f"step_{trainer.global_step:08d}.ckpt"
        # False: optimiser, callbacks and loops too, in plain containers all the same
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero and self.keep >= 0:
            for path in list_checkpoints(self.folder)[: -self.keep or None]:
                path.unlink()
