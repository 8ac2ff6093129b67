"""An error saves the last whole step, in a form that a run resumes from as from any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.checkpoint_io import AtomicCheckpointIO

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
]


class Failing(LightningModule):
    """One weight; fails in a named hook of a micro-batch, two of which make a step."""

    def __init__(self, place: str = "", micro_batch: int = -1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.place, self.micro_batch, self.seen = place, micro_batch, 0

    def fail(self, place: str) -> None:
        if place == self.place and self.seen == self.micro_batch:
            raise RuntimeError("a fault")

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        self.fail("forward")
        self.seen += 1
        return (self.weight * batch.mean()) ** 2

    def on_train_batch_end(self, *_: Any) -> None:
        self.fail("end")

    def configure_optimizers(self) -> Any:
        module = self

        class Half(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                loss = super().step(closure)
                module.fail("optimizer")
                return loss

        return Half(self.parameters(), 0.1, momentum=0.9)


def fit(folder: Path, module: Failing, start: Path | None = None) -> None:
    done = 0 if start is None else 2 * int(start.stem[5:])
    trainer = Trainer(
        accelerator="cpu", max_steps=6, max_epochs=-1, logger=False, accumulate_grad_batches=2,
        callbacks=[ResumeCheckpoint(folder, 100)], plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    data = DataLoader(torch.arange(1.0, 40.0)[done:], batch_size=1)
    trainer.fit(module, data, ckpt_path=start, weights_only=True)


@pytest.mark.parametrize(
    ("place", "micro_batch", "step"),
    [
        ("forward", 6, 3),
        ("forward", 7, 3),  # half of a step done
        ("end", 7, 3),
        ("optimizer", 8, None),  # weights of no step
        ("forward", 1, None),  # no step done
    ],
)
def test_the_last_whole_step_is_saved_and_resumes(
    tmp_path: Path, place: str, micro_batch: int, step: int | None
) -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        fit(tmp_path, Failing(place, micro_batch))
    saved = list_checkpoints(tmp_path)
    assert [int(path.stem[5:]) for path in saved] == ([] if step is None else [step])
    if saved:
        whole, resumed = Failing(), Failing()
        fit(tmp_path / "whole", whole)
        fit(tmp_path / "resumed", resumed, saved[0])
        assert resumed.seen == 12 - 2 * step
        assert torch.equal(whole.weight, resumed.weight)
