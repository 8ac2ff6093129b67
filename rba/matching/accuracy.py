"""How good matches are where the truth is known: coverage, and PCK in pixels of 512."""

import dataclasses
from typing import Any, Self

import numpy as np

THRESHOLDS = (4, 8, 16)  # pixels of a reference whose longer side has 512


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Counts of nodes of the match grid, over one or more pairs.

    Attributes:
        pairs: Pairs counted.
        visible: Nodes whose point is seen in the reference.
        covered: Those of them that have a match.
        claimed: Nodes that have a match, visible or not.
        correct: Those whose match lies within each of `THRESHOLDS` of the truth.
    """

    pairs: int = 0
    visible: int = 0
    covered: int = 0
    claimed: int = 0
    correct: tuple[int, ...] = (0,) * len(THRESHOLDS)

    @classmethod
    def of(cls, matches: np.ndarray, truth: np.ndarray, reference: tuple[int, int]) -> Self:
        """Compare a grid with the true one.

        Args:
            matches: [h, w, 3]; NaN = no match.
            truth: [h, w, 2 or more]; NaN = not seen in the reference. A match there is wrong.
            reference: Height and width of the reference in pixels.
        """
        seen, claimed = np.isfinite(truth[..., 0]), np.isfinite(matches[..., 0])
        scale = np.array((reference[1], reference[0])) * (512.0 / max(reference))
        apart = (matches[..., :2].astype(np.float64) - truth[..., :2]) * scale
        error = np.linalg.norm(apart, axis=-1)
        both = seen & claimed
        correct = tuple(int((error[both] <= limit).sum()) for limit in THRESHOLDS)
        return cls(1, int(seen.sum()), int(both.sum()), int(claimed.sum()), correct)

    def __add__(self, other: "Accuracy") -> "Accuracy":
        correct = tuple(a + b for a, b in zip(self.correct, other.correct, strict=True))
        return Accuracy(
            self.pairs + other.pairs,
            self.visible + other.visible,
            self.covered + other.covered,
            self.claimed + other.claimed,
            correct,
        )

    @property
    def coverage(self) -> float:
        """Share of the visible nodes that have a match, right or wrong; NaN if there are none."""
        return self.covered / self.visible if self.visible else float("nan")

    @property
    def pck(self) -> tuple[float, ...]:
        """Share of the claimed nodes that are correct, for each of `THRESHOLDS`."""
        if not self.claimed:
            return (float("nan"),) * len(THRESHOLDS)
        return tuple(count / self.claimed for count in self.correct)

    def summary(self) -> dict[str, Any]:
        """Return the figures for a report; None where there is nothing to divide by."""
        pck = {f"pck@{limit}": share for limit, share in zip(THRESHOLDS, self.pck, strict=True)}
        figures = {"coverage": self.coverage, **pck}
        rounded = {k: None if np.isnan(v) else round(v, 4) for k, v in figures.items()}
        return {"pairs": self.pairs, "nodes": self.visible, **rounded}


def way_back(forward: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return where matches lie if they are followed to the reference and back.

    Args:
        forward: [h, w, 3] grid of the target.
        back: [H', W', 2] exact correspondence over the reference, as fractions of the target.

    Returns:
        [h, w, 2] as fractions of the target, where the nodes themselves are the truth; NaN where
        one of the two ways is not known.
    """
    height, width = back.shape[:2]
    known = np.isfinite(forward[..., 0])
    x, y = (np.nan_to_num(forward[..., i].astype(np.float64)) for i in (0, 1))
    columns = np.clip((x * width).astype(int), 0, width - 1)
    rows = np.clip((y * height).astype(int), 0, height - 1)
    return np.where(known[..., None], back[rows, columns], np.nan)
