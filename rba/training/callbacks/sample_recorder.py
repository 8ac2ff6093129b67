"""Write down which samples each rank trained on, one line a batch."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from rba.batch import Batch
from rba.training.disk_faults import DiskFaults
from rba.training.step_lines import append_line, drop_lines_from


class SampleRecorder(Callback):
    """Append ``{"step", "rank", "mode", "sample_ids"}`` to ``samples.jsonl``.

    ``step`` is the optimiser step that the batch belongs to, from 0. A line is written before its
    batch is trained on: an update takes the gradients of all ranks, so all lines of a step stand
    before any rank can save it. After a resume, lines of steps that the lost part of the run had
    already written are dropped first, so a run that has ended lists what made its weights.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._faults = DiskFaults(str(path))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut off lines from the resume point on."""
        if trainer.is_global_zero:
            drop_lines_from(self.path, trainer.global_step)
        trainer.strategy.barrier("sample_recorder")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Append one line; after the batch, a rank that is killed might take its line with it."""
        facts = {
            "step": trainer.global_step,
            "rank": trainer.global_rank,
            "mode": str(batch.mode),
            "sample_ids": list(batch.sample_ids),
        }
        with self._faults.borne():
            append_line(self.path, facts)
