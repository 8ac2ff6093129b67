"""Mean IoU over noise levels and layers at validation: which layer aligns, and at which noise."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.attention.region import RegionSettings
from rba.batch import Batch
from rba.errors import InputError
from rba.inference.grid import GridSettings, batch_grid, batch_scores
from rba.training.csv_log import drop_rows_from
from rba.training.disk_faults import DiskFaults
from rba.training.module import RefineByAlignModule
from rba.training.picture_log import log_picture

COLUMNS = ("step", "set", "timestep", "layer", "miou", "miou_box", "cases")


class LayerHeatmap(Callback):
    """Draw Gamma of Algorithm 1 at validations, coarsely, for each validation set.

    The sampler takes ``num_steps`` steps from pure noise; the maps of all layers at each of them
    are scored as in calibration. ``heatmap/MODE_SET`` goes to the loggers that take pictures, the
    figures to ``heatmaps.csv``. It costs ``num_steps`` forward passes of the U-Net for each of the
    first ``num_batches`` batches a set and rank; a validation itself takes 2 a batch.

    Args:
        path: ``heatmaps.csv``.
        every_n_validations: At each n-th validation of the run; 0 = never.
        num_steps: Noise levels.
        num_batches: Batches of each set and rank.

    Raises:
        InputError: If a number is out of range.

    [0] Refine-by-Align, figure 7.
    """

    def __init__(
        self,
        path: str | Path,
        every_n_validations: int = 2,
        num_steps: int = 5,
        num_batches: int = 2,
    ) -> None:
        least = {"every_n_validations": 0, "num_steps": 1, "num_batches": 1}
        given = {"every_n_validations": every_n_validations} | {
            "num_steps": num_steps,
            "num_batches": num_batches,
        }
        for name, low in least.items():
            if given[name] < low:
                raise InputError(
                    f"callbacks.layer_heatmap.{name}={given[name]}; give {low} or more"
                )
        self.path = Path(path)
        self._faults = DiskFaults(str(path))
        self.every_n_validations = every_n_validations
        self.num_steps = num_steps
        self.num_batches = num_batches
        self._sums: dict[str, Tensor] = {}  # [3, T', L]: IoU, box IoU, cases

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse more noise levels than there are."""
        scheduler: Any = pl_module.scheduler
        if self.num_steps > (most := scheduler.config.num_train_timesteps):
            raise InputError(
                f"callbacks.layer_heatmap.num_steps={self.num_steps}; give at most {most}"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop rows of validations that are done again."""
        if trainer.is_global_zero:
            drop_rows_from(self.path, trainer.global_step)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score one of the first batches of a set."""
        assert isinstance(pl_module, RefineByAlignModule)
        if batch_idx >= self.num_batches or not self._is_due(trainer):
            return
        settings = GridSettings(num_inference_steps=self.num_steps, seed=pl_module.seed)
        scheduler = _from_pure_noise(pl_module.scheduler)
        grid = batch_grid(pl_module.network, scheduler, batch, settings)
        scores = batch_scores(grid, batch, RegionSettings())  # [B, 2, T', L]
        known = np.isfinite(scores).all(axis=(1, 2, 3)) & (batch.weight > 0).cpu().numpy()
        kept = scores[known]
        sums = np.concatenate([kept, np.ones_like(kept[:, :1])], axis=1).sum(axis=0)
        name = f"{batch.mode}_{batch.sample_ids[0].partition('/')[0]}"
        self._sums[name] = self._sums.get(name, torch.zeros(sums.shape)) + torch.from_numpy(sums)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw; the same sets come on all ranks."""
        sums, self._sums = self._sums, {}
        scheduler: Any = _from_pure_noise(pl_module.scheduler)
        scheduler.set_timesteps(self.num_steps)
        timesteps = [int(timestep) for timestep in scheduler.timesteps]
        for name, own in sums.items():
            together: Any = trainer.strategy.reduce(own.to(pl_module.device), reduce_op="sum")  # pyright: ignore
            miou, miou_box, cases = together.cpu().numpy()
            if trainer.is_global_zero and cases[0, 0]:
                found = miou / cases, miou_box / cases
                step, count = trainer.global_step, int(cases[0, 0])
                with self._faults.borne():
                    self._append(step, name, timesteps, found, count)
                picture = _draw(found[0], timesteps, f"{name}, step {step:,}: {count} cases")
                log_picture(trainer.loggers, f"heatmap/{name}", picture, step)

    def _is_due(self, trainer: Trainer) -> bool:
        """Count validations by the step, so that a resume changes nothing."""
        if not self.every_n_validations:
            return False
        steps = int(trainer.val_check_interval) // trainer.accumulate_grad_batches
        return trainer.global_step // max(steps, 1) % self.every_n_validations == 0

    def _append(
        self,
        step: int,
        name: str,
        timesteps: list[int],
        found: tuple[np.ndarray, np.ndarray],
        cases: int,
    ) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            for row, layer in np.ndindex(*found[0].shape):
                figures = [f"{values[row, layer]:.6f}" for values in found]
                writer.writerow([step, name, timesteps[row], layer, *figures, cases])


def _from_pure_noise(scheduler: Any) -> Any:
    """Return the schedule with steps that start at its last timestep, however few they are."""
    return type(scheduler).from_config(scheduler.config, timestep_spacing="trailing")


def _draw(miou: np.ndarray, timesteps: list[int], title: str) -> np.ndarray:
    from rba.inference.heatmap import draw_heatmap  # matplotlib, when the first is drawn

    column, layer = (int(i) for i in np.unravel_index(int(np.argmax(miou)), miou.shape))
    return draw_heatmap(
        miou,
        columns=timesteps,
        title=f"{title}\nbest: timestep {timesteps[column]}, layer {layer}: {miou.max():.3f}",
        xlabel="timestep, noisy to clean",
        framed=(column, layer),
        width=5.0,
        with_figures=True,
    )
