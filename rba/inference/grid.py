"""All timestep x layer maps in one sampler path, and their scores on annotated batches."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rba.attention.region import RegionSettings, correspondence_mask
from rba.batch import Batch
from rba.errors import InputError
from rba.geometry import cells_to_pixels, mask_to_queries
from rba.inference.align import alignment_condition, walk_attention
from rba.inference.gamma import Calibration
from rba.inference.noise import KeyedNoise, NoiseSource
from rba.inference.sampler import evaluating, latent_shape
from rba.metrics.region import box_iou, iou, truth_mask
from rba.models.network import RefinementNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Which part of the grid is looked at.

    Attributes:
        num_inference_steps: T.
        steps: Sampler step indices (0 = the noisiest); None = all T. The path runs as far as the
            last of them.
        region: Post-processing of each map.
        seed: Keys the noise.
    """

    num_inference_steps: int = 50
    steps: tuple[int, ...] | None = None
    region: RegionSettings = dataclasses.field(default_factory=RegionSettings)
    seed: int = 0

    def step_indices(self) -> tuple[int, ...]:
        """Return the wanted steps in order, without doubles."""
        steps = range(self.num_inference_steps) if self.steps is None else self.steps
        return tuple(sorted(set(steps)))


def correspondence_grid(
    network: RefinementNetwork,
    scheduler: Any,
    *,
    image: Tensor,
    artifact_mask: Tensor,
    reference: Tensor,
    noise: NoiseSource,
    settings: GridSettings,
) -> Tensor:
    """Compute the maps of all layers at the wanted steps; one U-Net forward a step.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        image: [B, 3, H, W] in [-1, 1]; its hole is blanked here.
        artifact_mask: [B, 1, H, W] bool or {0, 1}, not empty.
        reference: [B, 3, R, R] in [-1, 1], the complete reference.
        noise: Called once with purpose ``alignment-0``, as in `align`.
        settings: Steps.

    Returns:
        [B, T', L, n, n] float32 on the CPU; equal to what `align` gives cell by cell.

    Raises:
        InputError: If a step does not exist.
    """
    num_layers = len(network.cross_attention_layers())
    cells = {step: range(num_layers) for step in settings.step_indices()}
    with evaluating(network):
        condition = alignment_condition(network, image, artifact_mask, reference)
        rows = [
            torch.stack([layers[layer] for layer in range(num_layers)], dim=1).cpu()
            for _, layers in walk_attention(
                network,
                scheduler,
                condition,
                artifact_mask,
                noise("alignment-0", latent_shape(network, condition)),
                cells=cells,
                num_inference_steps=settings.num_inference_steps,
            )
        ]
    return torch.stack(rows, dim=1)


def batch_grid(
    network: RefinementNetwork, scheduler: Any, batch: Batch, settings: GridSettings
) -> Tensor:
    """Return `correspondence_grid` of a batch, its noise keyed by the draw numbers."""
    pixels = batch.normalized()
    return correspondence_grid(
        network,
        scheduler,
        image=pixels.image,
        artifact_mask=pixels.artifact_mask,
        reference=pixels.reference,
        noise=KeyedNoise(settings.seed, tuple(batch.draws.tolist())),
        settings=settings,
    )


def batch_scores(grid: Tensor, batch: Batch, settings: RegionSettings) -> np.ndarray:
    """Score a batch's maps against its known correspondences (method: Figures).

    Args:
        grid: [B, T', L, n, n] maps on the CPU.
        batch: With ``correspondence_mask`` and ``reference_mask``.
        settings: Post-processing of each map.

    Returns:
        [B, 2, T', L] float64, IoU of masks and of boxes; NaN where no match is known.
    """
    objects = (mask_to_queries(batch.reference_mask, grid.shape[-1]) > 0).cpu().numpy()
    truths = truth_mask(batch.correspondence_mask[:, 0].cpu().numpy())
    known = batch.correspondence_known.cpu().numpy() & truths.any(axis=(1, 2))
    scores = np.full((len(batch), 2, *grid.shape[1:3]), np.nan)
    for index in np.flatnonzero(known):
        scores[index] = _score(grid[index].numpy(), objects[index], truths[index], settings)
    return scores


def calibrate(
    network: RefinementNetwork, scheduler: Any, batches: Iterable[Batch], settings: GridSettings
) -> Calibration:
    """Fill Gamma over annotated batches ([0] Algorithm 1, steps 3-11).

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        batches: With ``correspondence_mask``; examples whose match is not known or whose weight is
            0 are left out.
        settings: Steps, post-processing, seed (noise is keyed by each example's draw number).

    Raises:
        InputError: If no example has a known match.
    """
    totals: list[np.ndarray] = []
    for batch in batches:
        grid = batch_grid(network, scheduler, batch, settings)
        scores = batch_scores(grid, batch, settings.region)
        kept = np.isfinite(scores).all(axis=(1, 2, 3)) & (batch.weight > 0).cpu().numpy()
        totals += list(scores[kept])
    if not totals:
        raise InputError("no case has a known match; calibration needs annotated cases")
    return Calibration(
        scores=np.stack(totals),
        steps=settings.step_indices(),
        num_inference_steps=settings.num_inference_steps,
    )


def _score(
    grid: np.ndarray, object_cells: np.ndarray, truth: np.ndarray, settings: RegionSettings
) -> np.ndarray:
    """Score one case's [T', L, n, n] maps: [2, T', L] mask and box IoU."""
    scores = np.zeros((2, *grid.shape[:2]))
    for step, layer in np.ndindex(*grid.shape[:2]):
        cells = correspondence_mask(grid[step, layer], object_cells, settings).mask
        predicted = cells_to_pixels(cells, *truth.shape)
        scores[:, step, layer] = iou(predicted, truth), box_iou(predicted, truth)
    return scores
