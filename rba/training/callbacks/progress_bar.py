"""A progress bar that counts optimiser steps of the whole run, or lines where nothing redraws."""

import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from rba.batch import Mode
from rba.training.callbacks.progress import ProgressLog
from rba.training.pace import clock

_SHORT = {Mode.ALIGNMENT: "align", Mode.REFINEMENT: "refine"}
_VALIDATION_TITLES = {"miou": "mIoU", "loss": "loss"}


class StepProgressBar(TQDMProgressBar):
    """Show steps done of ``max_steps``, also after a resume, time left, speed and losses.

    Lightning's bar counts the micro-batches of an epoch, and this framework's stream has no epochs.
    Where the output is no terminal (a job's log), a line is printed whenever `ProgressLog` logs.
    A line after each validation comes in both.

    Args:
        refresh_rate: Optimiser steps until the bar is redrawn.
        lines: Lines instead of a bar; None: where the output is no terminal.
    """

    BAR_FORMAT = "{n_fmt}/{total_fmt} {percentage:2.0f}%|{bar}| {desc}"

    def __init__(self, refresh_rate: int = 5, lines: bool | None = None) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.lines = lines
        self._log: ProgressLog | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the figures; draw no bar where lines are wanted."""
        super().setup(trainer, pl_module, stage)
        self._log = next((c for c in trainer.callbacks if isinstance(c, ProgressLog)), None)  # pyright: ignore
        self._is_first = trainer.is_global_zero and self.is_enabled
        self._draws = not (not sys.stdout.isatty() if self.lines is None else self.lines)
        if not self._draws:
            self.disable()

    def init_validation_tqdm(self) -> Tqdm:
        """Return a bar below that of training, which goes when the validation ends."""
        return Tqdm(
            desc="validation",
            position=1,
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format="{desc} {n_fmt}/{total_fmt} |{bar}|",
        )

    def on_train_start(self, *_: Any) -> None:
        """Start at the step that the run starts or resumes from."""
        super().on_train_start()
        bar = self.train_progress_bar
        bar.set_description_str("starting", refresh=False)
        bar.total = self.trainer.max_steps
        bar.initial = bar.n = self.trainer.global_step
        bar.refresh()

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Leave the bar as it is: a run that resumes within an epoch does not come here."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance to the current optimiser step."""
        bar, step = self.train_progress_bar, trainer.global_step
        if self._draws and step > bar.n and self._should_update(step, trainer.max_steps):
            self._show(trainer, pl_module)
        elif not self._draws and step > bar.n:
            bar.n = step
            self._print_step(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start a bar for each set, of its own length."""
        if self.has_dataloader_changed(dataloader_idx):
            self.val_progress_bar.reset(total=self.total_val_batches_current_dataloader)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what was measured."""
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()
        if not self._is_first:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found = [_by_mode(figures, f"validation/{n}_", t) for n, t in _VALIDATION_TITLES.items()]
        if not self._draws and self._log is not None:
            found.append(f"validated in {clock(self._log.validation_seconds)}")
        words = f"step {trainer.global_step:,}: {', '.join(filter(None, found))}"
        self.train_progress_bar.write(words, file=sys.stdout)
        sys.stdout.flush()

    def on_train_end(self, *_: Any) -> None:
        """Show the last step."""
        if self._draws:
            self._show(self.trainer, self.trainer.lightning_module)
        else:
            self._print_step(self.trainer)
        super().on_train_end()

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Redraw the bar; with the losses it takes less than 80 columns."""
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        if self._log is not None:
            figures = self._log.running(trainer, pl_module)
            words = (
                f"{self._left(trainer)} left {figures['speed/samples_per_second']:.3g}/s "
                f"wait {figures['speed/data_wait_share']:.0%}"
            )
            words += f" {_by_mode(figures, 'train/loss_', '')}"
            bar.set_description_str(words, refresh=False)
        bar.refresh()

    def _print_step(self, trainer: Trainer) -> None:
        """Print a line, where figures of this step have been logged."""
        step, log = trainer.global_step, self._log
        if not self._is_first or log is None or log.logged_step != step:
            return
        log.logged_step = -1
        figures = log.latest
        share = step / trainer.max_steps
        words = (
            f"step {step:,}/{trainer.max_steps:,} ({share:.1%}), {self._left(trainer)} left: "
            f"{figures['speed/samples_per_second']:.3g} samples/s, data wait "
            f"{figures['speed/data_wait_share']:.0%}"
        )
        words += f", {_by_mode(figures, 'train/loss_', 'loss')}"
        if (norm := figures.get("train/gradient_norm")) is not None:
            words += f", gradient {norm:.3g}"
        memory = figures.get("memory/gpu_peak_gib", figures["memory/process_gib"])
        print(f"{words}, {memory:.1f} GiB", flush=True)

    def _left(self, trainer: Trainer) -> str:
        if self._log is None:
            return "?"
        batches, micro = trainer.val_check_interval, trainer.accumulate_grad_batches
        validates = isinstance(batches, int) and trainer.limit_val_batches != 0
        every = int(batches) // micro if validates else None
        return clock(self._log.pace.remaining(trainer.max_steps, every))


def _by_mode(figures: Mapping[str, float], prefix: str, title: str) -> str:
    """Return the title and the figure of each mode that has one; nothing where none has."""
    found = [
        f"{short} {figures[name]:.3g}"
        for mode, short in _SHORT.items()
        if (name := f"{prefix}{mode}") in figures
    ]
    return " ".join([title, *found]).strip() if found else ""
