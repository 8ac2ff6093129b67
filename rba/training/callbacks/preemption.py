"""Signals that ask a run to end: all ranks end together after a step, with a checkpoint."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rba.errors import RunInterruptedError
from rba.training.agreement import LateAgreement, agree_now

_log = logging.getLogger(__name__)
# SIGUSR2 is what submitit asks SLURM for. Of two, the later one counts.
_SIGNALS = (
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
)


class Preemption(Callback):
    """End the run after the step in which any rank got SIGINT, SIGUSR1, SIGUSR2 or SIGTERM.

    The handler only sets a flag: a collective call inside it would hang. At the end of each
    optimiser step, and of each batch of a validation, the ranks agree on the flags; then all raise
    `RunInterruptedError` (exit status 75), on which `ResumeCheckpoint` saves. Several ranks end one
    step later: so that no host waits for its device, they learn of the flags of the step before.
    A second SIGINT kills at once. Lightning's own handlers are not installed.

    Belongs behind all callbacks that keep account of a step.

    Args:
        requeue: Ask SLURM to run the job again (``scontrol requeue $SLURM_JOB_ID``) after all
            but SIGINT; the command needs ``resume=auto``.
    """

    def __init__(self, requeue: bool = False) -> None:
        self.requeue = requeue
        self._received = 0  # place in _SIGNALS, from 1
        self._late = LateAgreement()
        self._step = -1
        self._kill_launched: Any = None
        self._earlier: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Install the handlers; Lightning would install its own next."""
        connector: Any = trainer._signal_connector  # pyright: ignore
        connector.register_signal_handlers = _install_none
        launcher: Any = trainer.strategy.launcher
        self._kill_launched = None if launcher is None else launcher.kill
        for signum in _SIGNALS:
            self._earlier.setdefault(signum, signal.signal(signum, self._note))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put back the handlers that were there; after an error they stay to the process's end."""
        while self._earlier:
            signal.signal(*self._earlier.popitem())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the run starts."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree after an optimiser step; after the last one the run ends anyway."""
        if trainer.global_step not in (self._step, trainer.max_steps):
            self._step = trainer.global_step
            self._end(trainer, self._late.exchange)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Agree: all ranks have equally many batches."""
        self._end(trainer, agree_now)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Requeue after the save."""
        wanted = isinstance(exception, RunInterruptedError) and exception.signal_name != "SIGINT"
        if self.requeue and wanted and trainer.is_global_zero:
            _requeue()

    def _note(self, signum: int, frame: Any) -> None:
        if signum == signal.SIGINT and self._received:
            if self._kill_launched is not None:
                self._kill_launched(signal.SIGKILL)
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        name = signal.Signals(signum).name
        text = f"{name}: the run ends after this step with a checkpoint (Ctrl-C: at once)\n"
        os.write(2, text.encode())  # a handler may not use sys.stderr's buffer
        self._received = max(self._received, 1 + _SIGNALS.index(signum))

    def _end(self, trainer: Trainer, agree: Callable[[int, torch.device], int]) -> None:
        agreed = self._received
        if trainer.world_size > 1:
            agreed = agree(self._received, trainer.strategy.root_device)
        if agreed:
            name = _SIGNALS[agreed - 1].name
            raise RunInterruptedError(
                f"{name} ended the run after step {trainer.global_step}; resume=auto goes on", name
            )


def _install_none() -> None:
    """Stand in for Lightning's handlers, one of which waits for the other ranks."""


def _requeue() -> None:
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        _log.warning("callbacks.preemption.requeue=true, but this is no SLURM job: start it again")
        return
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, check=False, timeout=60
        )
        problem = done.stderr.strip() if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem is not None:
        _log.warning("job %s was not requeued, start it again: %s", job, problem)
