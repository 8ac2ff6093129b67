"""The best checkpoint is as whole as any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from rba.training.callbacks.best_checkpoint import BestCheckpoint
from rba.training.checkpoint_io import AtomicCheckpointIO

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
]
MIOU = [0.1, 0.6, 0.3]  # after steps 2, 4 and 6


class Validated(LightningModule):
    """One weight, two micro-batches a step, validated every two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = 0

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        self.seen += 1
        return (self.weight * batch.mean()) ** 2

    def validation_step(self, batch: torch.Tensor, _: int) -> None:
        self.log("validation/miou_alignment", MIOU[self.global_step // 2 - 1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-4, momentum=0.9)


def fit(folder: Path, start: Path | None = None, *, done: int = 0) -> Validated:
    trainer = Trainer(
        accelerator="cpu", max_steps=6, max_epochs=-1, logger=False, accumulate_grad_batches=2,
        callbacks=[BestCheckpoint(folder)], plugins=[AtomicCheckpointIO()], val_check_interval=4,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    module, data = Validated(), DataLoader[Any](torch.arange(1.0, 40.0)[2 * done :], batch_size=1)
    validation = DataLoader[Any](torch.arange(1.0), batch_size=1)
    trainer.fit(module, data, validation, ckpt_path=start, weights_only=True)
    return module


def test_a_run_goes_on_from_it(tmp_path: Path) -> None:
    whole = fit(tmp_path)
    best = tmp_path / "best.ckpt"
    assert torch.load(best, weights_only=True)["global_step"] == 4
    again = tmp_path / "again"
    resumed = fit(again, best, done=4)
    assert resumed.seen == 4
    assert torch.equal(whole.weight, resumed.weight)
    assert not (again / "best.ckpt").exists()  # 0.3 is no better than 0.6
