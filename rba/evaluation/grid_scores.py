"""Every cell of Gamma scored case by case: mask, box, equal area, hit, PCK ([0] Algorithm 1)."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from rba.attention.region import RegionSettings, correspondence_mask
from rba.batch import Batch
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.region_scores import PCK_ALPHA
from rba.geometry import cells_to_pixels, mask_box, mask_to_queries
from rba.inference.gamma import Calibration
from rba.inference.grid import GridSettings, batch_grid
from rba.metrics.bootstrap import mean_interval
from rba.metrics.region import box_iou, centre_within, hit, iou, iou_at_area, truth_mask
from rba.models.network import RefinementNetwork

FIGURES = ("iou_mask", "iou_box", "iou_equal_area", "hit", f"pck_{PCK_ALPHA}")
_RESAMPLES = 2_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridScores:
    """What each (sampler step, layer) scores on each case.

    Attributes:
        scores: [N, F, T', L] of N >= 1 cases, `FIGURES` in order.
        steps: The T' sampler step indices (0 = the noisiest).
        num_inference_steps: T.
        seed: Keys the resamples.
    """

    scores: np.ndarray
    steps: tuple[int, ...]
    num_inference_steps: int
    seed: int = 0

    @property
    def calibration(self) -> Calibration:
        """Gamma, whose arg max is the chosen cell."""
        return Calibration(
            scores=self.scores[:, :2],
            steps=self.steps,
            num_inference_steps=self.num_inference_steps,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON containers: the choice, how sure it is, and every cell's means."""
        calibration = self.calibration
        means = self.scores.mean(axis=0)
        return {
            **calibration.to_dict(),
            "best": self._figures(calibration.best),
            "certainty": self._certainty(),
            **{f"grid_{name}": np.round(means[k], 6).tolist() for k, name in enumerate(FIGURES)},
        }

    def curves(self) -> list[dict[str, Any]]:
        """Return every curve as rows: figure, axis, over, place, mean, low, high.

        ``axis`` is ``step`` or ``layer``; ``over`` says what of the other axis was taken: ``mean``
        or the ``chosen`` one.
        """
        step, layer = self.calibration.best
        row = self.steps.index(step)
        views = (
            ("step", "mean", self.scores.mean(axis=3), self.steps),
            ("step", "chosen", self.scores[..., layer], self.steps),
            ("layer", "mean", self.scores.mean(axis=2), range(self.scores.shape[3])),
            ("layer", "chosen", self.scores[:, :, row], range(self.scores.shape[3])),
        )
        return [
            {
                "figure": name,
                "axis": axis,
                "over": over,
                "place": place,
                **self._interval(values[:, k, index]),
            }
            for axis, over, values, places in views
            for k, name in enumerate(FIGURES)
            for index, place in enumerate(places)
        ]

    def _figures(self, cell: tuple[int, int]) -> dict[str, dict[str, float]]:
        values = self.scores[:, :, self.steps.index(cell[0]), cell[1]]
        return {name: self._interval(values[:, k]) for k, name in enumerate(FIGURES)}

    def _interval(self, values: np.ndarray) -> dict[str, float]:
        interval = mean_interval(values.tolist(), seed=self.seed)
        return {"mean": interval.value, "low": interval.low, "high": interval.high}

    def _certainty(self) -> dict[str, Any]:
        """Say how often the chosen cell, and its layer, win when the cases are drawn anew."""
        num_cases, _, _, num_layers = self.scores.shape
        cells = self.scores[:, 0].reshape(num_cases, -1)
        rng = keyed_generator(self.seed, "best-cell", "evaluation", num_cases)
        even = np.full(num_cases, 1.0 / num_cases)
        drawn = rng.multinomial(num_cases, even, size=_RESAMPLES) / num_cases
        winners = np.argmax(drawn @ cells, axis=1)
        means = cells.mean(axis=0)
        best = int(np.argmax(means))
        other = np.where(np.arange(means.size) == best, -np.inf, means)
        second = int(np.argmax(other)) if means.size > 1 else best
        row, layer = divmod(second, num_layers)
        return {
            "same_cell_share": float(np.mean(winners == best)),
            "same_layer_share": float(np.mean(winners % num_layers == best % num_layers)),
            "second": {"sampler_step_index": self.steps[row], "layer": layer},
            "best_minus_second": self._interval(cells[:, best] - cells[:, second]),
        }


def score_grid(
    network: RefinementNetwork,
    scheduler: Any,
    batches: Iterable[Batch],
    settings: GridSettings,
) -> GridScores:
    """Score every cell on annotated batches; examples whose match is not known are left out.

    Raises:
        InputError: If no example has a known match, or a step does not exist.
    """
    found: list[np.ndarray] = []
    for batch in batches:
        grid = batch_grid(network, scheduler, batch, settings)
        found += _batch_scores(grid, batch, settings.region)
    if not found:
        raise InputError("no case has a known match; calibration needs annotated cases")
    return GridScores(
        scores=np.stack(found),
        steps=settings.step_indices(),
        num_inference_steps=settings.num_inference_steps,
        seed=settings.seed,
    )


def _batch_scores(grid: Tensor, batch: Batch, settings: RegionSettings) -> list[np.ndarray]:
    """[B, T', L, n, n] maps => a [F, T', L] array a case with a known match."""
    objects = (mask_to_queries(batch.reference_mask, grid.shape[-1]) > 0).cpu().numpy()
    truths = truth_mask(batch.correspondence_mask[:, 0].cpu().numpy())
    known = batch.correspondence_known.cpu().numpy() & truths.any(axis=(1, 2))
    boxes = [mask_box(mask) for mask in batch.reference_mask[:, 0].cpu().numpy()]
    reach = [PCK_ALPHA * max(box.width, box.height) for box in boxes]
    return [
        _score(grid[index].numpy(), objects[index], truths[index], settings, reach[index])
        for index in np.flatnonzero(known)
    ]


def _score(
    maps: np.ndarray,
    object_cells: np.ndarray,
    truth: np.ndarray,
    settings: RegionSettings,
    reach: float,
) -> np.ndarray:
    scores = np.zeros((len(FIGURES), *maps.shape[:2]))
    for step, layer in np.ndindex(*maps.shape[:2]):
        found = maps[step, layer]
        cells = correspondence_mask(found, object_cells, settings).mask
        predicted = cells_to_pixels(cells, *truth.shape)
        scores[:, step, layer] = (
            iou(predicted, truth),
            box_iou(predicted, truth),
            iou_at_area(found, truth),
            hit(found, truth),
            centre_within(predicted, truth, reach),
        )
    return scores
