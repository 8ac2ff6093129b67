"""An update that is not finite is left out, whole, on all ranks."""

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from rba.batch import Mode
from rba.errors import InputError, RunStoppedError
from rba.training.callbacks import skip_non_finite
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.callbacks.skip_non_finite import SkipNonFinite
from rba.training.checkpoint_io import AtomicCheckpointIO
from rba.training.loss_meter import LossMeter
from rba.training.module import RefineByAlignModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
]


@dataclasses.dataclass
class Item:
    """As much of a batch as the callback looks at; micro-batch ``number`` of a rank."""

    number: int
    mode: Mode = Mode.ALIGNMENT

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """One name."""
        return (f"made/0/{self.number}",)

    @property
    def draws(self) -> torch.Tensor:
        """One number."""
        return torch.tensor([self.number])


class Fragile(LightningModule):
    """One weight, two micro-batches a step; the second one of some steps has a NaN on one rank.

    A fused optimiser leaves updates out by itself; for another one the host waits.
    """

    def __init__(
        self, bad_steps: list[int], bad_rank: int, *, where: str = "loss", fused: bool = True
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.bad_steps, self.bad_rank, self.where = bad_steps, bad_rank, where
        self.seed, self.fused = 5, fused
        self.done: list[float] = []
        self.after: list[Any] = []

    def training_step(self, batch: Item, _: int) -> torch.Tensor:
        """Return the loss; ``where`` says whether its value or only its gradient is not finite."""
        step, second = divmod(batch.number, 2)
        loss = ((self.weight - batch.number) ** 2).mean()
        if second and step in self.bad_steps and self.global_rank == self.bad_rank:
            if self.where == "loss":
                return loss * float("nan")
            return loss + (self.weight * 0.0).sum().abs().sqrt()  # 0, of infinite slope
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep weights and moments of each whole step."""
        if len(self.after) < self.global_step:
            optimizer: Any = self.optimizers()
            moments = [dict(state) for state in optimizer.state_dict()["state"].values()]
            copied = [{k: v.clone() for k, v in state.items()} for state in moments]
            self.after.append((self.weight.detach().clone(), copied))
            self.done.append(float(self.update_done))  # pyright: ignore

    def configure_optimizers(self) -> Any:
        """Return AdamW, whose weight decay would move weights without a gradient of 0 as well."""
        return torch.optim.AdamW(self.parameters(), 0.1, weight_decay=0.1, fused=self.fused)


def fit(
    folder: Path,
    module: Fragile,
    *,
    max_in_a_row: int = 3,
    devices: int = 1,
    every_n_steps: int = 9,
) -> None:
    """Train eight steps."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_steps=8,
        max_epochs=-1, logger=False, accumulate_grad_batches=2, gradient_clip_val=1.0,
        callbacks=[SkipNonFinite(folder / "non_finite.jsonl", max_in_a_row),
                   ResumeCheckpoint(folder, every_n_steps)],
        plugins=[AtomicCheckpointIO()], enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    items: Any = [Item(number) for number in range(16)]
    trainer.fit(module, DataLoader(items, batch_size=None, collate_fn=lambda item: item))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "non_finite.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_weights_and_moments_stay_and_the_step_counts(
    tmp_path: Path, where: str, fused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    module = Fragile([2, 3, 5], 0, where=where, fused=fused)
    fit(tmp_path, module)
    assert len(module.after) == 8
    assert module.done == [1, 1, 0, 0, 1, 0, 1, 1]
    for step, (weight, moments) in enumerate(module.after):
        assert weight.isfinite().all()
        same = step > 0 and torch.equal(weight, module.after[step - 1][0])
        assert same is (step in (2, 3, 5))
        done = step + 1 - sum(bad <= step for bad in (2, 3, 5))
        assert float(moments[0]["step"]) == done
        if same:
            earlier = module.after[step - 1][1][0]
            assert all(torch.equal(value, earlier[key]) for key, value in moments[0].items())
    told = lines(tmp_path)
    assert [line["step"] for line in told] == [2, 3, 5]
    assert told[0]["seed"] == 5
    assert [batch["sample_ids"] for batch in told[0]["batches"]] == [["made/0/4"], ["made/0/5"]]
    assert [batch["draws"] for batch in told[0]["batches"]] == [[4], [5]]
    assert [batch["loss"] == "nan" for batch in told[0]["batches"]] == [False, where == "loss"]
    assert sum("update skipped" in text for text in caplog.messages) == 3
    (last,) = list_checkpoints(tmp_path)
    state = torch.load(last, weights_only=True)
    assert state["global_step"] == 8
    assert state["callbacks"]["SkipNonFinite"] == {"skipped": 3, "in_a_row": 0}


@pytest.mark.parametrize(("fused", "saved"), [(True, 6), (False, 5)])
def test_too_many_in_a_row_end_the_run_with_the_weights_of_before(
    tmp_path: Path, fused: bool, saved: int
) -> None:
    module = Fragile([1, 3, 4, 5, 6], 0, fused=fused)
    with pytest.raises(RunStoppedError, match=r"in 3 steps in a row, the last of them 5;.*jsonl"):
        fit(tmp_path, module)
    (last,) = list_checkpoints(tmp_path)
    assert int(last.stem[5:]) == saved
    assert torch.equal(module.weight.detach(), module.after[2][0])
    assert [line["step"] for line in lines(tmp_path)] == [1, 3, 4, 5]
    counts = torch.load(last, weights_only=True)["callbacks"]["SkipNonFinite"]
    assert counts == {"skipped": saved - 2, "in_a_row": 3}


def test_too_many_at_the_end_of_the_run_end_it_too(tmp_path: Path) -> None:
    module = Fragile([5, 6, 7], 0)
    with pytest.raises(RunStoppedError, match="the last of them 7"):
        fit(tmp_path, module)
    assert [int(path.stem[5:]) for path in list_checkpoints(tmp_path)] == [8]
    assert [line["step"] for line in lines(tmp_path)] == [5, 6, 7]


def test_a_checkpoint_counts_the_update_before_it(tmp_path: Path) -> None:
    fit(tmp_path, Fragile([3], 0), every_n_steps=4)
    first = list_checkpoints(tmp_path)[0]
    state = torch.load(first, weights_only=True)
    assert state["global_step"] == 4
    assert state["callbacks"]["SkipNonFinite"] == {"skipped": 1, "in_a_row": 1}


def test_a_list_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, facts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(skip_non_finite, "append_line", full_disk)
    module = Fragile([2], 0)
    fit(tmp_path, module, max_in_a_row=2)
    assert torch.equal(module.after[2][0], module.after[1][0])
    assert "batches of step 2 are not listed" in caplog.text


def test_none_in_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_in_a_row=0"):
        SkipNonFinite(tmp_path / "x", 0)


def test_the_average_leaves_a_skipped_step_out(
    make_module: Callable[..., RefineByAlignModule],
) -> None:
    module = make_module()
    ema, trainer = EMACallback(0.5), SimpleNamespace(global_step=0)
    ema.setup(trainer, module, "fit")  # pyright: ignore
    ema.on_train_start(trainer, module)  # pyright: ignore
    counts = []
    for step in range(4):
        trainer.global_step = step + 1
        module.update_done = torch.tensor(float(step not in (1, 2)))
        with torch.no_grad():
            next(p for p in module.parameters() if p.requires_grad).add_(1.0)
        before = [average.clone() for average in ema.ema.shadow_params]
        ema.on_train_batch_end(trainer, module, None, None, 0)  # pyright: ignore
        counts.append(ema.ema.optimization_step)
        same = all(map(torch.equal, before, ema.ema.shadow_params))
        assert same is (step in (1, 2))
    assert counts == [1, 1, 1, 2]


def test_the_means_leave_out_what_is_not_finite() -> None:
    meter = LossMeter(1000)
    losses = torch.tensor([1.0, float("nan"), 3.0, float("inf")])
    times = torch.tensor([0, 0, 600, 600])
    meter.add(Mode.ALIGNMENT, losses, torch.ones(4), times, torch.ones(4))
    meter.add_correspondence(Mode.ALIGNMENT, losses, torch.ones(4))
    means = meter.take()
    assert means["loss_alignment"] == 2.0
    assert means["loss_alignment_t000-249"] == 1.0
    assert means["loss_correspondence_alignment"] == 2.0
    assert means["loss_in_hole_alignment"] == 1.0


@pytest.mark.slow
def test_one_rank_makes_both_skip_and_end_together(tmp_path: Path) -> None:

    def run(steps: str) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[2]
        return subprocess.run(
            [sys.executable, __file__, str(tmp_path / steps), steps], capture_output=True,
            text=True, check=False, timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        )  # fmt: skip

    assert run("2,5").returncode == 0
    told = lines(tmp_path / "2,5")
    assert sorted((line["step"], line["rank"]) for line in told) == [(2, 0), (2, 1), (5, 0), (5, 1)]
    for line in told:
        assert (line["batches"][1]["loss"] == "nan") is (line["rank"] == 1)
    done = run("2,3,4")
    assert done.returncode != 0
    assert "in 3 steps in a row, the last of them 4" in done.stderr
    assert [int(path.stem[5:]) for path in list_checkpoints(tmp_path / "2,3,4")] == [5]


if __name__ == "__main__":  # one of two ranks; rank 1 gets a NaN in the steps named
    fit(Path(sys.argv[1]), Fragile([int(s) for s in sys.argv[2].split(",")], 1), devices=2)


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
def test_clipping_by_the_norm_that_was_measured_is_lightnings(
    make_module: Callable[..., RefineByAlignModule],
    make_batch: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = copy.deepcopy(make_module().state_dict())

    def weights() -> list[torch.Tensor]:
        module = make_module()
        module.load_state_dict(start)
        trainer = Trainer(
            accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1e-3,
            callbacks=[SkipNonFinite(tmp_path / "non_finite.jsonl", 2)],
        )  # fmt: skip
        batches = [make_batch(mode, size=2) for mode in Mode]
        trainer.fit(module, DataLoader(batches, batch_size=None))
        assert module.gradient_norm is not None
        assert module.gradient_norm > 1e-3
        return [p.detach().clone() for p in module.parameters()]

    ours = weights()
    monkeypatch.setattr(
        RefineByAlignModule,
        "configure_gradient_clipping",
        LightningModule.configure_gradient_clipping,
    )
    for one, other in zip(ours, weights(), strict=True):
        assert torch.equal(one, other)
