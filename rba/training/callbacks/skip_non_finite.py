"""Leave out updates whose loss or gradient is not finite, on all ranks together."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.batch import Batch, Mode
from rba.errors import InputError, RunStoppedError
from rba.training.step_lines import append_line, drop_lines_from

_log = logging.getLogger(__name__)


class SkipNonFinite(Callback):
    """Skip the update of a step where any rank's loss or gradient is NaN or infinite.

    Weights, moments and moving average stay as they were; the step counts, so the stream moves on.
    Each rank adds its batches to ``non_finite.jsonl``: ``{"step", "rank", "seed", "gradient_norm",
    "batches": [{"loss", "mode", "sample_ids", "draws"}]}``. Under DDP the gradient is the mean over
    ranks, so it is the loss that tells the rank. Logs ``train/skipped_updates``, all so far. State:
    ``{"skipped", "in_a_row"}``. The norm of the gradients, before clipping, becomes the module's
    ``gradient_norm``.

    Belongs before the callbacks that save: what a run that ends here had learnt is saved.

    Args:
        path: The file.
        max_in_a_row: So many non-finite steps in a row end the run before the update.

    Raises:
        InputError: If ``max_in_a_row`` is below 1.
    """

    def __init__(self, path: str | Path, max_in_a_row: int) -> None:
        if max_in_a_row < 1:
            raise InputError(
                f"callbacks.skip_non_finite.max_in_a_row={max_in_a_row}; give 1 or more"
            )
        self.path = Path(path)
        self.max_in_a_row = max_in_a_row
        self.skipped = 0
        self.in_a_row = 0
        self._batches: list[tuple[Mode, Sequence[str], Tensor]] = []  # of the step in progress
        self._losses: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop lines of steps that are done again."""
        if trainer.is_global_zero:
            drop_lines_from(self.path, trainer.global_step)
        trainer.strategy.barrier("skip_non_finite")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember what is in the batch, not the batch: it holds the device's memory."""
        self._batches.append((batch.mode, batch.sample_ids, batch.draws))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Agree; without gradients the optimiser's step changes nothing but the count of steps."""
        batches, losses, self._batches, self._losses = self._batches, self._losses, [], []
        norm = _gradient_norm(optimizer)
        pl_module.gradient_norm = norm  # pyright: ignore
        finite = torch.stack([*losses, norm.to(losses[0])]).isfinite().all()
        bad = trainer.strategy.reduce((~finite).int(), reduce_op="max")  # pyright: ignore
        if not int(bad):
            self.in_a_row = 0
            return
        step = trainer.global_step
        own = {"step": step, "rank": trainer.global_rank, "seed": getattr(pl_module, "seed", None)}
        told = [
            {"loss": str(loss.item()), "mode": str(mode), "sample_ids": list(sample_ids),
             "draws": draws.tolist()}
            for (mode, sample_ids, draws), loss in zip(batches, losses, strict=True)
        ]  # fmt: skip
        try:
            append_line(self.path, own | {"gradient_norm": str(norm.item()), "batches": told})
        except OSError as error:  # one rank alone must not leave here
            _log.warning("batches of step %d are not listed: %s", step, error)
        self.in_a_row += 1
        if self.in_a_row >= self.max_in_a_row:
            raise RunStoppedError(
                f"loss or gradient were not finite in {self.in_a_row} steps in a row, the last of "
                f"them {step}; {self.path} lists the batches. Lower optimizer.learning_rates or "
                "look at the samples, then resume=auto goes on"
            )
        self.skipped += 1
        optimizer.zero_grad(set_to_none=True)
        pl_module.skipped_step = step  # pyright: ignore
        if trainer.is_global_zero:
            _log.warning("step %d: loss or gradient not finite, update skipped; %s has the batches",
                         step, self.path)  # fmt: skip
        for logger in trainer.loggers:
            logger.log_metrics({"train/skipped_updates": float(self.skipped)}, step=step + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the counts."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm of this rank's gradients, or of its parts of them where they are sharded."""
    grads = [
        p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    local: Any = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in grads]
    return torch.nn.utils.get_total_norm(local)
