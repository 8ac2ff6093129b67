"""The figures of a training at intervals: losses, rates, gradients, speed, memory."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.batch import Batch
from rba.errors import InputError
from rba.training.host_copy import HostCopy
from rba.training.pace import Pace
from rba.training.resources import memory_figures
from rba.training.tensorboard_layout import log_layout


class ProgressLog(Callback):
    """Log the training's figures to all loggers at intervals.

    ``train/``: losses by mode, learning rates by group, and the norm of the gradients before
    clipping, its mean and its maximum over the interval's updates. ``train_by_timestep/``: losses
    by range. ``speed/samples_per_second``: of all ranks, and ``speed/data_wait_share``: of the
    time the slowest rank stood waiting for a batch; both without validations. ``memory/``: see
    `memory_figures`, the largest of all ranks. ``data/epochs_SET``: epochs begun.

    Between intervals nothing waits for the device.

    Args:
        every_n_steps: Interval in optimiser steps over which losses are averaged.

    Attributes:
        latest: What was logged last.
        logged_step: The step of it.
        pace: Steps a second and time left.
        validation_seconds: Of the last validation.

    Raises:
        InputError: If the interval is below 1.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise InputError(
                f"callbacks.progress_log.every_n_steps={every_n_steps}; give 1 or more"
            )
        self.every_n_steps = every_n_steps
        self.latest: dict[str, float] = {}
        self.logged_step = -1
        self.pace = Pace()
        self.validation_seconds = 0.0
        self._step = 0
        self._norms: list[Tensor] = []
        self._under_way: HostCopy | None = None
        self._start_interval(0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; say which lines belong into one chart."""
        if trainer.is_global_zero:
            log_layout(trainer.loggers)
        self._step = trainer.global_step
        self.pace = Pace()
        self._start_interval(_waited(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.pace.pause(time.perf_counter())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave validation out of the rates."""
        self.validation_seconds = self.pace.go_on(time.perf_counter())
        self._since += self.validation_seconds

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
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self.pace.mark(self._step, time.perf_counter())
        norm = getattr(pl_module, "gradient_norm", None)
        if norm is not None:
            self._norms.append(norm)
        if self._step % self.every_n_steps == 0:
            self._flush(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush what the last, shorter interval has seen."""
        if self._step % self.every_n_steps:
            self._flush(trainer, pl_module)

    def running(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """Return `latest`, brought up to the interval under way by what this rank knows.

        The losses are those of the call before: their copy from the device is not waited for.
        """
        meter: Any = pl_module.meter
        sums = None if self._under_way is None else self._under_way.get()
        if sums is not None:
            self.latest |= {f"train/{name}": value for name, value in meter.means(sums).items()}
        if sums is not None or self._under_way is None:
            self._under_way = meter.sums_so_far()
        return self.latest | (self._speed(_waited(trainer)) if self._samples else {})

    def _speed(self, waited: float) -> dict[str, float]:
        seconds = max(time.perf_counter() - self._since, 1e-9)
        return {
            "speed/samples_per_second": self._samples / seconds,
            "speed/data_wait_share": min((waited - self._waited) / seconds, 1.0),
        }

    def _flush(self, trainer: Trainer, pl_module: LightningModule) -> None:
        meter: Any = pl_module.meter
        metrics: dict[str, float] = {}
        for name, value in meter.take().items():
            metrics[f"{'train_by_timestep' if '_t' in name else 'train'}/{name}"] = value
        norms = [norm for norm in self._whole_norms(trainer, pl_module) if norm < float("inf")]
        if norms:
            metrics["train/gradient_norm"] = sum(norms) / len(norms)
            metrics["train/gradient_norm_max"] = max(norms)
        for group in trainer.optimizers[0].param_groups:
            metrics[f"train/lr_{group['name']}"] = group["lr"]
        own = self._speed(_waited(trainer))
        metrics["speed/samples_per_second"] = own.pop("speed/samples_per_second")
        memory = memory_figures(pl_module.device)
        own |= {f"memory/{name}": value for name, value in memory.items()}
        metrics |= _largest(trainer, pl_module.device, own)
        data: Any = getattr(trainer, "datamodule", None)
        for mode, epochs in data.epochs(self._step).items():
            metrics[f"data/epochs_{mode}"] = epochs
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self._step)
            logger.save()
        self.latest, self.logged_step = metrics, self._step
        self._start_interval(_waited(trainer))

    def _whole_norms(self, trainer: Trainer, pl_module: LightningModule) -> list[float]:
        """Return the norms of the interval; where gradients are sharded, of all parts together."""
        if not self._norms:
            return []
        norms: Any = torch.stack(self._norms)
        if any(hasattr(parameter, "to_local") for parameter in pl_module.parameters()):
            norms = trainer.strategy.reduce(norms**2, reduce_op="sum").sqrt()  # pyright: ignore
        return norms.tolist()

    def _start_interval(self, waited: float) -> None:
        self._samples, self._since, self._waited = 0, time.perf_counter(), waited
        self._norms, self._under_way = [], None


def _waited(trainer: Trainer) -> float:
    """Return the seconds that this rank has waited for batches of training so far."""
    return getattr(trainer.train_dataloader, "seconds_waited", 0.0)


def _largest(trainer: Trainer, device: torch.device, own: dict[str, float]) -> dict[str, float]:
    """Return the largest of all ranks' figures, which have the same names on all."""
    if trainer.world_size == 1:
        return own
    values = torch.tensor(list(own.values()), dtype=torch.float64, device=device)
    reduced: Any = trainer.strategy.reduce(values, reduce_op="max")  # pyright: ignore
    return dict(zip(own, reduced.tolist(), strict=True))
