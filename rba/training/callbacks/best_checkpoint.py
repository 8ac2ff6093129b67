"""The checkpoint with the best validation, kept apart from those to resume from."""

import copy
import logging
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rba.batch import Mode
from rba.training.save_state import save_state

_log = logging.getLogger(__name__)


class BestCheckpoint(Callback):
    """Save ``best.ckpt`` whenever validation mIoU is higher than ever before in this run.

    The mean of ``validation/miou_MODE`` over the modes that are validated counts. Belongs behind
    the moving average, which swaps the trained weights back after validation. The checkpoint is
    whole: it can be exported, and resumed from by its path. State: ``{"miou": float}``.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "best.ckpt"
        self.miou = -math.inf
        self._step = -1
        self._loops: dict[str, Any] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loops as they are after a whole step, before its validation."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self._loops = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare and save; the ranks have the same figures."""
        found = [
            float(trainer.callback_metrics[name])
            for mode in Mode
            if (name := f"validation/miou_{mode.value}") in trainer.callback_metrics
        ]
        miou = sum(found) / len(found) if found else math.nan
        if self._loops is None or not miou > self.miou:
            return
        before, self.miou = self.miou, miou
        problem = save_state(trainer, self.path, self._loops)
        if problem is not None:
            self.miou = before
            if trainer.is_global_zero:
                _log.warning("the best checkpoint stays the earlier one: %s", problem)

    def state_dict(self) -> dict[str, Any]:
        """Return the best mean IoU."""
        return {"miou": self.miou}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best mean IoU."""
        self.miou = state_dict["miou"]
