"""A progress bar that counts optimiser steps of the whole run."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class StepProgressBar(TQDMProgressBar):
    """Show steps done of ``max_steps``, also after a resume, and the running metrics.

    Lightning's bar counts the micro-batches of an epoch, and this framework's stream has no epochs.
    """

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start at the step that the run starts or resumes from."""
        bar = self.train_progress_bar
        bar.reset()
        bar.set_description("training", refresh=False)
        bar.unit = "step"
        bar.total = trainer.max_steps
        bar.initial = bar.n = trainer.global_step
        bar.refresh()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance to the current optimiser step."""
        bar, step = self.train_progress_bar, trainer.global_step
        if step > bar.n and self._should_update(step, trainer.max_steps):
            metrics = self.get_metrics(trainer, pl_module)
            bar.set_postfix(metrics, refresh=False)
            bar.n = step
            bar.refresh()
