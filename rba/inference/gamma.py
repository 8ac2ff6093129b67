"""Gamma of Algorithm 1 over annotated cases: its arg max, and whether halves of the cases agree."""

import dataclasses

import numpy as np
from scipy.stats import rankdata


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Gamma of Algorithm 1 and its arg max.

    Attributes:
        scores: [N, 2, T', L] of N >= 1 cases with a known match, in their order: IoU of the
            post-processed masks, and of their boxes.
        steps: The T' sampler step indices of the rows (0 = the noisiest).
        num_inference_steps: T.
    """

    scores: np.ndarray
    steps: tuple[int, ...]
    num_inference_steps: int

    @property
    def num_cases(self) -> int:
        """N, the cases with a known match."""
        return len(self.scores)

    @property
    def gamma(self) -> np.ndarray:
        """[T', L] mean IoU of the post-processed masks."""
        return self.scores[:, 0].mean(axis=0)

    @property
    def gamma_box(self) -> np.ndarray:
        """[T', L] mean IoU of their boxes."""
        return self.scores[:, 1].mean(axis=0)

    @property
    def best(self) -> tuple[int, int]:
        """(t*, l*): sampler step index and layer of the largest mean IoU; a tie goes to low t."""
        row, layer = np.unravel_index(int(np.argmax(self.gamma)), self.gamma.shape)
        return self.steps[int(row)], int(layer)

    def at(self, cell: tuple[int, int]) -> float:
        """Return the mean IoU of one (sampler step index, layer)."""
        return float(self.gamma[self.steps.index(cell[0]), cell[1]])

    def halves(self) -> "tuple[Calibration, Calibration] | None":
        """Return the calibrations on the even and on the odd cases; None of a single case."""
        if self.num_cases < 2:
            return None
        even, odd = (dataclasses.replace(self, scores=self.scores[start::2]) for start in range(2))
        return even, odd

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON containers."""
        return {
            **_cell(self),
            "num_inference_steps": self.num_inference_steps,
            "num_cases": self.num_cases,
            "steps": list(self.steps),
            "gamma": np.round(self.gamma, 6).tolist(),
            "gamma_box": np.round(self.gamma_box, 6).tolist(),
            "halves": _compare_halves(self),
        }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays of one shape; NaN where one is constant."""
    ranks = [rankdata(values.ravel()) for values in (first, second)]
    if any(np.ptp(values) == 0 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _compare_halves(whole: Calibration) -> dict[str, object] | None:
    """Compare what the even and the odd cases would choose; `miou_elsewhere` is the honest one."""
    halves = whole.halves()
    if halves is None:
        return None
    correlation = rank_correlation(halves[0].gamma, halves[1].gamma)
    compared: dict[str, object] = {
        "same_cell": halves[0].best == halves[1].best,
        "rank_correlation": None if np.isnan(correlation) else correlation,
    }
    for name, own, other in (("even", *halves), ("odd", *halves[::-1])):
        compared[name] = {
            **_cell(own),
            "miou_elsewhere": other.at(own.best),  # its choice, scored on the half it did not see
            "num_cases": own.num_cases,
            "gamma": np.round(own.gamma, 6).tolist(),
        }
    return compared


def _cell(calibration: Calibration) -> dict[str, object]:
    step, layer = calibration.best
    return {"sampler_step_index": step, "layer": layer, "miou": calibration.at((step, layer))}
