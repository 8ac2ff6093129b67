"""What a training tells of itself: figures at intervals, a bar of 80 columns, lines, pictures."""

import csv
import io
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Dataset

from rba.batch import Batch, Mode
from rba.data.watched_loader import WatchedLoader
from rba.errors import InputError
from rba.training.callbacks.layer_heatmap import LayerHeatmap
from rba.training.callbacks.pictures import PictureGrid
from rba.training.callbacks.progress import ProgressLog
from rba.training.callbacks.progress_bar import StepProgressBar
from rba.training.callbacks.skip_non_finite import SkipNonFinite
from rba.training.csv_log import ResumableCSVLogger
from rba.training.module import RefineByAlignModule
from rba.training.tensorboard_layout import LAYOUT
from rba.training.validation import ValidationSettings

SECONDS = 0.02  # that each training batch takes to come


class Batches(Dataset[Batch]):
    def __init__(self, make: Callable[..., Batch], seconds: float) -> None:
        self.make, self.seconds = make, seconds

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Batch:
        time.sleep(self.seconds)
        return self.make(list(Mode)[index % 2], 4 * index)


class Data(LightningDataModule):
    def __init__(self, make: Callable[..., Batch]) -> None:
        super().__init__()
        self.make = make

    def train_dataloader(self) -> Any:
        return WatchedLoader(Batches(self.make, SECONDS), batch_size=None)

    def val_dataloader(self) -> Any:
        one = [self.make(Mode.REFINEMENT, 100), self.make(Mode.REFINEMENT, 104)]
        return DataLoader(one, batch_size=None)

    def epochs(self, step: int) -> dict[str, float]:
        return {"alignment": step / 10}


@pytest.fixture
def module(make_module: Callable[..., RefineByAlignModule]) -> RefineByAlignModule:
    return make_module(validation=ValidationSettings(picture_steps=1, num_pictures=2))


def fit(
    module: RefineByAlignModule,
    data: Data,
    folder: Path,
    lines: bool,
    max_steps: int = 4,
    start: Path | None = None,
) -> Trainer:
    # 4 optimiser steps of two micro-batches: a validation at 2 and 4, figures at 3 and the end.
    callbacks = [
        SkipNonFinite(folder / "non_finite.jsonl", 3),
        ProgressLog(every_n_steps=3),
        StepProgressBar(refresh_rate=1, lines=lines),
        PictureGrid(),
        LayerHeatmap(folder / "heatmaps.csv", every_n_validations=2, num_steps=2, num_batches=1),
    ]
    loggers = [
        TensorBoardLogger(folder, name="", version=""),
        ResumableCSVLogger(folder, name="", version=""),
    ]
    trainer = Trainer(
        accelerator="cpu", max_steps=max_steps, max_epochs=-1, accumulate_grad_batches=2,
        val_check_interval=4, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        callbacks=callbacks, logger=loggers, enable_checkpointing=False,
        enable_model_summary=False, gradient_clip_val=1e-3, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    return trainer


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_a_run_in_lines_and_its_figures(
    module: RefineByAlignModule,
    make_batch: Callable[..., Batch],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = time.perf_counter()
    fit(module, Data(make_batch), tmp_path, lines=True)
    seconds = time.perf_counter() - start
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split(":")[0].split(" ")[1] for line in lines] == ["2", "3/4", "4", "4/4"]
    assert ": mIoU refine 0." in lines[0]
    assert "data wait " in lines[1]
    assert "gradient " in lines[1]
    assert "loss align " in lines[1]
    assert lines[3].startswith("step 4/4 (100.0%), 0:00 left:")

    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/gradient_norm"]]
    assert [row["step"] for row in rows] == ["3", "4"]
    for row, steps in zip(rows, (3, 1), strict=True):
        rate, share = (float(row[f"speed/{n}"]) for n in ("samples_per_second", "data_wait_share"))
        assert 8 * steps / seconds < rate < 4 / SECONDS  # the wait for data bounds it
        assert SECONDS * rate / 4 <= share < 1.0
        assert 0.05 < float(row["memory/process_gib"]) < 100
        assert float(row["train/gradient_norm"]) > 1e-3  # before clipping
        assert float(row["train/gradient_norm_max"]) >= float(row["train/gradient_norm"])
        assert float(row["train/lr_encoder"]) == 1e-3
    with (tmp_path / "heatmaps.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["step"] for row in cells] == ["4"] * 32  # at the second validation, 2 x 16
    assert {row["timestep"] for row in cells} == {"999", "499"}
    assert {(row["set"], row["cases"]) for row in cells} == {("refinement_made", "4")}

    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["images"]) == {"pictures/refinement_made", "heatmap/refinement_made"}
    assert [event.step for event in events.Images("pictures/refinement_made")] == [2, 4]
    assert_the_layout_shows(set(events.Tags()["scalars"]))


def assert_the_layout_shows(tags: set[str]) -> None:
    patterns = [tag for charts in LAYOUT.values() for tags in charts.values() for tag in tags]
    shown = {tag for tag in tags if any(re.search(pattern, tag) for pattern in patterns)}
    assert tags - shown == {"validation/unknown_matches_refinement"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
def test_the_bar_of_a_long_run_fits_into_80_columns(
    module: RefineByAlignModule,
    make_batch: Callable[..., Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    trainer = fit(module, Data(make_batch), tmp_path, lines=False)
    drawn = terminal.getvalue()
    assert "4/4 100%|" in drawn
    assert re.search(r"left \S+/s wait \d+% align \d\S+ refine \d\S+$", drawn.strip())
    assert drawn.count(": mIoU refine") == 2
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    fit(module, Data(make_batch), tmp_path, lines=False, max_steps=6, start=tmp_path / "x.ckpt")
    resumed = terminal.getvalue()[len(drawn) :]
    assert "4/6 67%|" in resumed
    assert "6/6 100%|" in resumed
    bar = next(c for c in trainer.callbacks if isinstance(c, StepProgressBar))  # pyright: ignore
    log = next(c for c in trainer.callbacks if isinstance(c, ProgressLog))  # pyright: ignore
    trainer = SimpleNamespace(
        global_step=54_399, max_steps=54_400, val_check_interval=500, limit_val_batches=0,
        accumulate_grad_batches=1, train_dataloader=None,
    )  # fmt: skip
    log.pace.remaining = lambda *_: 40 * 3600.0  # pyright: ignore
    log.latest |= {f"train/loss_{mode}": 0.0123456 for mode in Mode}
    log.latest |= {"speed/samples_per_second": 123.456, "speed/data_wait_share": 1.0}
    bar.train_progress_bar.disable = False
    bar.train_progress_bar.total = 54_400
    terminal.truncate(0)
    bar._show(trainer, module)  # pyright: ignore
    line = bar.train_progress_bar.format_meter(**bar.train_progress_bar.format_dict | {"ncols": 80})
    assert len(line) <= 80
    assert line.endswith("1d 16:00:00 left 123/s wait 100% align 0.0123 refine 0.0123")


def test_the_rows_of_a_heatmap_that_is_done_again_are_dropped(tmp_path: Path) -> None:
    heatmap = LayerHeatmap(tmp_path / "heatmaps.csv")
    found = np.full((1, 2), 0.5)
    for step in (10, 20):
        heatmap._append(step, "alignment_a", [999], (found, found), 3)
    heatmap.on_train_start(SimpleNamespace(is_global_zero=True, global_step=10), None)  # pyright: ignore
    heatmap._append(20, "alignment_a", [999], (found, found), 3)
    rows = (tmp_path / "heatmaps.csv").read_text().splitlines()
    assert rows[0] == "step,set,timestep,layer,miou,miou_box,cases"
    assert [row.split(",")[0] for row in rows[1:]] == ["10", "10", "20", "20"]


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [50, 100, 150]), (2, [100])])
def test_heatmaps_are_due_by_the_step(tmp_path: Path, every: int, due: list[int]) -> None:
    heatmap = LayerHeatmap(tmp_path / "x.csv", every_n_validations=every)
    found = [
        step
        for step in (50, 100, 150)
        if heatmap._is_due(
            SimpleNamespace(global_step=step, val_check_interval=100, accumulate_grad_batches=2)  # pyright: ignore
        )
    ]
    assert found == due


@pytest.mark.parametrize("name", ["num_steps", "num_batches"])
def test_heatmaps_of_nothing_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"layer_heatmap.{name}=0; give 1 or more"):
        LayerHeatmap(tmp_path / "x.csv", **{name: 0})


@pytest.fixture
def fakes() -> tuple[SimpleNamespace, SimpleNamespace, list[dict[str, float]]]:
    logged: list[dict[str, float]] = []
    module = SimpleNamespace(
        meter=SimpleNamespace(take=dict), device=torch.device("cpu"), parameters=list,
        gradient_norm=None,
    )  # fmt: skip
    trainer = SimpleNamespace(
        global_step=0, world_size=2, train_dataloader=None, is_global_zero=True, loggers=[],
        optimizers=[SimpleNamespace(param_groups=[])],
        datamodule=SimpleNamespace(epochs=lambda step: {}),
        strategy=SimpleNamespace(
            reduce=lambda values, reduce_op: values * 2 if reduce_op == "sum" else values + 1
        ),
    )  # fmt: skip
    logger = SimpleNamespace(
        log_metrics=lambda metrics, step: logged.append(metrics), save=lambda: None
    )
    log = ProgressLog(every_n_steps=3)
    log.on_train_start(trainer, module)  # pyright: ignore
    trainer.loggers = [logger]
    trainer.callback = log
    return trainer, module, logged


def steps(trainer: SimpleNamespace, module: SimpleNamespace, *norms: float) -> None:
    for norm in norms:
        trainer.global_step += 1
        module.gradient_norm = torch.tensor(norm)
        trainer.callback.on_train_batch_end(trainer, module, None, [0] * 4, 0)


def test_an_update_left_out_does_not_spoil_the_mean_norm(fakes: Any) -> None:
    trainer, module, logged = fakes
    steps(trainer, module, 1.0, math.nan, 3.0)
    assert logged[0]["train/gradient_norm"] == 2.0
    assert logged[0]["train/gradient_norm_max"] == 3.0
    assert logged[0]["speed/data_wait_share"] == 1.0  # the slowest rank's


def test_norms_of_sharded_gradients_are_put_together(fakes: Any) -> None:
    trainer, module, logged = fakes
    module.parameters = lambda: [SimpleNamespace(to_local=None)]
    steps(trainer, module, 3.0, 3.0, 3.0)  # on both ranks
    assert logged[0]["train/gradient_norm"] == pytest.approx(18**0.5)
