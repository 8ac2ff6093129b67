"""Leave out updates whose loss or gradient is not finite, on all ranks together."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.batch import Batch, Mode
from rba.errors import InputError, RunStoppedError
from rba.training.agreement import largest_of_ranks
from rba.training.host_copy import HostCopy
from rba.training.step_lines import append_line, drop_lines_from

_log = logging.getLogger(__name__)
_DEVICES = ("cpu", "cuda")  # whose fused kernels are known to look at ``found_inf``


class _Update(NamedTuple):
    """An update of which the host does not know yet whether it was done."""

    trainer: Trainer
    step: int
    batches: list[tuple[Mode, Sequence[str], Tensor]]
    figures: HostCopy  # 1 where it is left out else 0, the gradients' norm, the losses


class SkipNonFinite(Callback):
    """Skip the update of a step where any rank's loss or gradient is NaN or infinite.

    Weights, moments and moving average stay as they were; the step counts, so the stream moves on.
    Each rank adds its batches to ``non_finite.jsonl``: ``{"step", "rank", "seed", "gradient_norm",
    "batches": [{"loss", "mode", "sample_ids", "draws"}]}``. Under DDP the gradient is the mean over
    ranks, so it is the loss that tells the rank. Logs ``train/skipped_updates``, all so far. State:
    ``{"skipped", "in_a_row"}``. The norm of the gradients, before clipping, becomes the module's
    ``gradient_norm``, and its ``update_done`` 0 or 1.

    A fused Adam or AdamW on a GPU or CPU leaves the update out by itself, on the device, and the
    host learns of it a step later, or before a save or a validation: nothing waits, and the run
    ends one step after the last of too many. For others the host waits, each step, and drops the
    gradients; the run ends before the update.

    Belongs before the callbacks that save: what a run that ends here had learnt is saved.

    Args:
        path: The file.
        max_in_a_row: So many non-finite steps in a row end the run.

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
        self._unknown: _Update | None = None
        self._too_many: int | None = None  # the last step of too many in a row

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop lines of steps that are done again."""
        self._unknown = None
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
        """Agree, and let the optimiser leave the update out, or do it for the optimiser."""
        self._learn()
        self._require_few()
        batches, losses, self._batches, self._losses = self._batches, self._losses, [], []
        norm = _gradient_norm(optimizer)
        figures = torch.stack([norm.to(losses[0]), *losses])
        bad = largest_of_ranks((~figures.isfinite().all()).float())
        pl_module.gradient_norm, pl_module.update_done = norm, 1.0 - bad  # pyright: ignore
        figures = torch.cat([bad.to(figures).view(1), figures])
        self._unknown = _Update(trainer, trainer.global_step, batches, HostCopy(figures))
        if _leaves_out(optimizer):
            optimizer.found_inf = bad
        elif self._learn():
            if self._too_many is not None:
                self.skipped -= 1  # the step is not done
            self._require_few()
            # Without gradients its step changes nothing but the count of steps.
            optimizer.zero_grad(set_to_none=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn of the last update."""
        self._learn()
        self._require_few()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn of the last update."""
        self._learn()
        self._require_few()

    def _learn(self) -> bool:
        """Wait for the figures of the last update, and tell of one that was left out."""
        update, self._unknown = self._unknown, None
        if update is None:
            return False
        bad, norm, *losses = update.figures.wait().tolist()
        if not bad:
            self.in_a_row = 0
            return False
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.max_in_a_row:
            self._too_many = update.step
        self._tell(update, norm, losses)
        return True

    def _tell(self, update: _Update, norm: float, losses: Sequence[float]) -> None:
        trainer, step = update.trainer, update.step
        seed = getattr(trainer.lightning_module, "seed", None)
        own = {"step": step, "rank": trainer.global_rank, "seed": seed, "gradient_norm": str(norm)}
        told = [
            {"loss": str(loss), "mode": str(mode), "sample_ids": list(sample_ids),
             "draws": draws.tolist()}
            for (mode, sample_ids, draws), loss in zip(update.batches, losses, strict=True)
        ]  # fmt: skip
        try:
            append_line(self.path, own | {"batches": told})
        except OSError as error:  # one rank alone must not leave here
            _log.warning("batches of step %d are not listed: %s", step, error)
        if self._too_many is not None:
            return
        if trainer.is_global_zero:
            _log.warning("step %d: loss or gradient not finite, update skipped; %s has the batches",
                         step, self.path)  # fmt: skip
        for logger in trainer.loggers:
            logger.log_metrics({"train/skipped_updates": float(self.skipped)}, step=step + 1)

    def _require_few(self) -> None:
        """End the run where there were too many in a row; on all ranks in the same step."""
        if self._too_many is not None:
            raise RunStoppedError(
                f"loss or gradient were not finite in {self.in_a_row} steps in a row, the last of "
                f"them {self._too_many}; {self.path} lists the batches. Lower "
                "optimizer.learning_rates or look at the samples, then resume=auto goes on"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, the last update among them."""
        self._learn()
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the counts."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def _leaves_out(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimiser changes nothing where its ``found_inf`` is 1.

    A fused SGD would take what lies in its memory for its momentum after a first step left out.
    """
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return (
        fused
        and isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW))
        and all(group["params"][0].device.type in _DEVICES for group in optimizer.param_groups)
    )


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm of this rank's gradients, or of its parts of them where they are sharded."""
    grads = [
        p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    local: Any = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in grads]
    return torch.nn.utils.get_total_norm(local)
