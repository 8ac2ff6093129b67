"""Samples a second, and the means of the losses by mode, at intervals."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rba.batch import Batch
from rba.errors import InputError


class ProgressLog(Callback):
    """Log ``train/...`` losses by mode and timestep range, learning rates and ``samples/s``.

    Args:
        every_n_steps: Interval in optimiser steps over which losses are averaged.

    Raises:
        InputError: If the interval is below 1.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise InputError(
                f"callbacks.progress_log.every_n_steps={every_n_steps}; give 1 or more"
            )
        self.every_n_steps = every_n_steps
        self._step = 0
        self._samples = 0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._step, self._samples, self._since = trainer.global_step, 0, time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave validation out of the rate."""
        self._samples, self._since = 0, time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count samples on all ranks; flush at the interval."""
        self._samples += len(batch) * trainer.world_size
        rate = self._samples / max(time.perf_counter() - self._since, 1e-9)
        pl_module.log("samples/s", rate, prog_bar=True, logger=False, batch_size=len(batch))
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            self._flush(trainer, pl_module, rate)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush what the last, shorter interval has seen."""
        if self._step % self.every_n_steps:
            rate = self._samples / max(time.perf_counter() - self._since, 1e-9)
            self._flush(trainer, pl_module, rate)

    def _flush(self, trainer: Trainer, pl_module: LightningModule, rate: float) -> None:
        meter: Any = pl_module.meter
        metrics = {f"train/{name}": value for name, value in meter.take().items()}
        for group in trainer.optimizers[0].param_groups:
            metrics[f"train/lr_{group['name']}"] = group["lr"]
        metrics["train/samples_per_second"] = rate
        data: Any = getattr(trainer, "datamodule", None)
        for mode, epochs in data.epochs(self._step).items():
            metrics[f"train/epochs_{mode}"] = epochs
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self._step)
            logger.save()
        self._samples, self._since = 0, time.perf_counter()
