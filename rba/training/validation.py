"""Validation: mean IoU of every layer's map at the first sampler step, and the loss."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rba.attention.region import RegionSettings
from rba.batch import Batch
from rba.errors import InputError
from rba.inference.grid import GridSettings, batch_grid, batch_scores
from rba.models.network import RefinementNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """What validation measures.

    Attributes:
        layer: The layer whose mean IoU is logged by name; all layers come beside it.
        sampler_step_index: 0 = the FIRST, noisiest sampler step.
        num_inference_steps: What the index counts.
        num_pictures: Examples a picture grid shows; 0 = no pictures.
        picture_steps: Sampler steps for the pictures.
        guidance_scale: Guidance for the pictures.

    Raises:
        InputError: If a number is out of range.
    """

    layer: int = 9
    sampler_step_index: int = 0
    num_inference_steps: int = 50
    num_pictures: int = 8
    picture_steps: int = 20
    guidance_scale: float = 5.0

    def __post_init__(self) -> None:
        least = {"layer": 0, "num_inference_steps": 1, "num_pictures": 0, "picture_steps": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"validation.{name}={getattr(self, name)}; give at least {low}")
        if not 0 <= self.sampler_step_index < self.num_inference_steps:
            raise InputError(
                f"validation.sampler_step_index={self.sampler_step_index}; give 0, the noisiest, "
                f"to {self.num_inference_steps - 1}, the last of num_inference_steps"
            )

    def check(self, num_layers: int, num_train_timesteps: int) -> None:
        """Refuse numbers that the network or its noise schedule does not have.

        Raises:
            InputError: Naming the number and its largest value.
        """
        most = {
            "layer": num_layers - 1,
            "num_inference_steps": num_train_timesteps,
            "picture_steps": num_train_timesteps,
        }
        for name, high in most.items():
            if getattr(self, name) > high:
                raise InputError(f"validation.{name}={getattr(self, name)}; give at most {high}")


def correspondence_maps(
    network: RefinementNetwork,
    scheduler: Any,
    batch: Batch,
    settings: ValidationSettings,
    seed: int,
) -> Tensor:
    """Return the [B, L, n, n] maps of all layers (CPU), from one U-Net forward for step 0."""
    grid_settings = GridSettings(
        num_inference_steps=settings.num_inference_steps,
        steps=(settings.sampler_step_index,),
        seed=seed,
    )
    return batch_grid(network, scheduler, batch, grid_settings)[:, 0]


class ValidationMeter:
    """Means over a finite set and all ranks: IoU by layer, loss, number of unknown matches."""

    def __init__(self, num_layers: int) -> None:
        # Rows: value sums; counts. Columns: IoU by layer, then loss, then unknown matches.
        self._sums = torch.zeros(2, num_layers + 2, dtype=torch.float64)

    def add(self, batch: Batch, maps: Tensor, losses: Tensor) -> None:
        """Add a batch.

        Args:
            batch: Examples of weight 0 (padding) are left out, those without a known match too,
                and the latter counted.
            maps: [B, L, n, n].
            losses: [B].
        """
        scores = batch_scores(maps[:, None], batch, RegionSettings())[:, 0, 0]
        for index in np.flatnonzero(batch.weight.cpu().numpy() > 0):
            self._sums[0, -2] += float(losses[index].detach())
            self._sums[1, -2:] += 1
            if np.isnan(scores[index]).any():
                self._sums[0, -1] += 1
            else:
                self._sums[0, :-2] += torch.from_numpy(scores[index])
                self._sums[1, :-2] += 1

    @classmethod
    def together(cls, meters: Sequence["ValidationMeter"]) -> "ValidationMeter":
        """Return a meter of what some meters (at least one) have seen on this rank."""
        meter = cls(0)
        meter._sums = torch.stack([other._sums for other in meters]).sum(dim=0)
        return meter

    def take(self, device: torch.device) -> tuple[np.ndarray, float, float] | None:
        """Return mean IoU by layer, mean loss and the number of unknown matches, and reset.

        None where the set was empty. The sums run over all ranks.
        """
        sums = self._sums.to(device)
        self._sums = torch.zeros_like(self._sums)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        totals, counts = sums.cpu().numpy()
        if counts[-2] == 0:
            return None
        miou = totals[:-2] / np.maximum(counts[:-2], 1)
        return miou, totals[-2] / counts[-2], totals[-1]


class ValidationMeters:
    """A meter for each validation set of each mode; the same sets come on all ranks."""

    def __init__(self) -> None:
        self._by_set: dict[tuple[str, str], ValidationMeter] = {}

    def of(self, batch: Batch, num_layers: int) -> ValidationMeter:
        """Return the meter of the set that a batch comes from."""
        key = (batch.mode.value, batch.sample_ids[0].partition("/")[0])
        return self._by_set.setdefault(key, ValidationMeter(num_layers))

    def take(self, device: torch.device) -> dict[str, tuple[np.ndarray, float, float]]:
        """Return what was measured, and start anew.

        The keys are ``MODE``, all of its sets together, and where there are several ``MODE_SET``.
        """
        named: dict[str, ValidationMeter] = {}
        for mode in dict.fromkeys(mode for mode, _ in self._by_set):
            of_mode = {
                name: meter for (other, name), meter in self._by_set.items() if other == mode
            }
            named[mode] = ValidationMeter.together(list(of_mode.values()))
            if len(of_mode) > 1:
                named |= {f"{mode}_{name}": meter for name, meter in of_mode.items()}
        self._by_set = {}
        measured = {name: meter.take(device) for name, meter in named.items()}
        return {name: values for name, values in measured.items() if values is not None}
