"""Whether the matches of a pair contradict each other: there and back, and folds."""

import dataclasses
from typing import Any

import cv2
import numpy as np

from rba.matching.dense import grid_nodes
from rba.matching.exact import GRID_STRIDE
from rba.matching.view_area import ViewArea

FEW, OVERLAP = "too few matches", "too little overlap"
THERE_AND_BACK, FOLDED = "matches disagree there and back", "matches fold over"
NOT_RIGID = "matches of no common movement"
_TORN = 6.0  # a cell whose corners lie so many strides apart spans two surfaces


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencySettings:
    """What is a contradiction.

    Attributes:
        tolerance: Pixels of 512 by which the way there and back may miss the node.
        most_disagreeing: Share of the nodes that may miss it; these have no match then. A pair
            with more is left out.
        most_folded: Share of the grid's cells that may be mirrored.
        least_patch: Nodes of a grid over 512 pixels that must hang together; smaller patches are
            mostly wrong and have no match then.
    """

    tolerance: float = 8.0
    most_disagreeing: float = 0.3
    most_folded: float = 0.05
    least_patch: float = 12.0


def check_grid(
    forward: np.ndarray,
    backward: np.ndarray,
    target: ViewArea,
    reference: ViewArea,
    size: tuple[int, int],
    settings: ConsistencySettings,
) -> tuple[np.ndarray, str | None]:
    """Take matches away that the way back contradicts.

    Args:
        forward: Grid of a target of ``size``.
        backward: Grid of the reference at its size in ``reference``, of matches with the target.
        target: The target at the size it was matched at.
        reference: The reference likewise.
        size: Height and width that the target is stored with.
        settings: What is a contradiction.

    Returns:
        The grid, and why the pair is to be left out or None.
    """
    known = np.isfinite(forward[..., 0])
    if not known.any():
        return forward, None
    nodes = grid_nodes(size, target)[known.ravel()]
    places = forward[known][:, :2].astype(np.float64) * (reference.size[1], reference.size[0])
    error, limit = _way_back(nodes, places, backward, target)
    wrong = error > limit + settings.tolerance * target.unit
    tested = np.isfinite(error)
    grid = forward.copy()
    grid[known] = np.where(wrong[:, None], np.float16(np.nan), forward[known])
    if tested.any() and wrong.sum() > settings.most_disagreeing * tested.sum():
        return grid, THERE_AND_BACK
    if folded_share(grid, reference) > settings.most_folded:
        return grid, FOLDED
    least = settings.least_patch * (max(size) / 512.0) ** 2
    grid[_small_patches(np.isfinite(grid[..., 0]), least)] = np.nan
    return grid, None


def _small_patches(known: np.ndarray, least: float) -> np.ndarray:
    """Return the nodes of patches of fewer nodes than ``least``."""
    found: Any = cv2.connectedComponentsWithStats(known.astype(np.uint8), connectivity=8)
    _, parts, numbers, _ = found
    return known & (numbers[:, cv2.CC_STAT_AREA] < least)[parts]


def _way_back(
    nodes: np.ndarray, places: np.ndarray, backward: np.ndarray, target: ViewArea
) -> tuple[np.ndarray, np.ndarray]:
    """Follow matches back to the target.

    Returns:
        [N] the distance from the node in pixels, NaN where the reference has no match there; [N]
        how much of it may be due to the grid alone: 0 where four nodes surround the place.
    """
    where = places / GRID_STRIDE - (0.5 + 0.5 / GRID_STRIDE)
    base = np.floor(where).astype(int)
    share = where - base
    values = backward[..., :2].astype(np.float64) * (target.size[1], target.size[0])
    rows, columns = backward.shape[:2]
    corners = np.empty((4, len(nodes), 2))
    weights = np.empty((4, len(nodes), 1))
    for number, (dx, dy) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        x, y = base[:, 0] + dx, base[:, 1] + dy
        corners[number] = values[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        weights[number, :, 0] = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
    known = np.isfinite(corners[..., 0])
    filled = np.where(known[..., None], corners, nodes)
    whole = np.asarray(known.all(axis=0))
    whole[whole] = np.ptp(corners[:, whole], axis=0).max(axis=1) <= _TORN * GRID_STRIDE
    straight = np.linalg.norm((filled * weights).sum(axis=0) - nodes, axis=1)
    each = np.where(known, np.linalg.norm(filled - nodes, axis=-1), np.inf).min(axis=0)
    error = np.where(whole, straight, each)
    return np.where(known.any(axis=0), error, np.nan), np.where(whole, 0.0, 3.0 * GRID_STRIDE)


def folded_share(grid: np.ndarray, reference: ViewArea) -> float:
    """Return the share of the grid's cells, of those within one surface, that are mirrored."""
    values = grid[..., :2].astype(np.float64) * (reference.size[1], reference.size[0])
    right, down = values[:-1, 1:] - values[:-1, :-1], values[1:, :-1] - values[:-1, :-1]
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    length = np.maximum(np.abs(right).max(axis=-1), np.abs(down).max(axis=-1))
    # Cells of a few pixels may turn by rounding; those that span two surfaces mean nothing.
    asked = np.isfinite(area) & (length <= _TORN * GRID_STRIDE) & (np.abs(area) > 1.0)
    return float((area[asked] < 0).mean()) if asked.any() else 0.0
