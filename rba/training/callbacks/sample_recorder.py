"""Write down which samples each rank trained on, one line a batch."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rba.batch import Batch
from rba.training.disk_faults import DiskFaults
from rba.training.step_lines import append_line, drop_lines_from


class SampleRecorder(Callback):
    """Append ``{"step", "rank", "mode", "sample_ids"}`` to ``samples.jsonl``.

    ``step`` is the optimiser step that the batch belongs to, from 0. After a resume, lines of steps
    that the lost part of the run had already written are dropped first, so the file always lists
    what made the current weights.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._faults = DiskFaults(str(path))
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut off lines from the resume point on."""
        if trainer.is_global_zero:
            drop_lines_from(self.path, trainer.global_step)
        trainer.strategy.barrier("sample_recorder")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the step that this batch contributes to."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Append one line."""
        facts = {
            "step": self._step,
            "rank": trainer.global_rank,
            "mode": str(batch.mode),
            "sample_ids": list(batch.sample_ids),
        }
        with self._faults.borne():
            append_line(self.path, facts)
