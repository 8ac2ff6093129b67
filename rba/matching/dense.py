"""From scattered matches to the grid: maps around a node predict where it lies."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rba.matching.exact import node_positions
from rba.matching.local_maps import LocalMaps
from rba.matching.view_area import ViewArea

# How well pixels confirm [Q, 2] points of the target, mapped to [Q, 2] by maps [Q, 2, 2]: [Q] in
# [-1, 1], NaN where they say nothing.
Confirm = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """When a node has a match.

    Attributes:
        sure_reach: With a verified match so near, pixels of 512, only pixels that speak against it
            make a node unmatched.
        reach: With one so near, pixels that agree make it matched.
        tolerance: Pixels of 512 within which the predictions of neighbours agree.
        least_agreement: Share of the predictions, weighted by nearness, that must agree.
        refuted: Correlation of patches below which they speak against a match, -1 to 1.
        confirmed: Correlation of patches from which on they agree.
    """

    sure_reach: float = 16.0
    reach: float = 40.0
    tolerance: float = 4.0
    least_agreement: float = 0.6
    refuted: float = 0.3
    confirmed: float = 0.7


def empty_grid(size: tuple[int, int]) -> np.ndarray:
    """Return the grid of a target of height x width pixels, without a match."""
    rows, columns = (len(node_positions(side)) for side in size)
    return np.full((rows, columns, 3), np.nan, np.float16)


def grid_nodes(size: tuple[int, int], area: ViewArea) -> np.ndarray:
    """Return where the nodes of a target lie on a copy of it.

    Args:
        size: Height and width that the target is stored with.
        area: The copy, perhaps smaller.

    Returns:
        [h * w, 2] (x, y) in pixels of the copy.
    """
    y, x = (
        node_positions(stored) * (now / stored) for stored, now in zip(size, area.size, strict=True)
    )
    return np.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=1)


def fill_grid(
    maps: LocalMaps,
    target: ViewArea,
    reference: ViewArea,
    size: tuple[int, int],
    settings: DenseSettings,
    confirm: Confirm | None = None,
) -> np.ndarray:
    """Match the nodes of the grid.

    Args:
        maps: Verified matches between the views.
        target: One view.
        reference: The other view.
        size: Height and width that the target is stored with.
        settings: When a node has a match.
        confirm: What the pixels say; None = nodes in sure reach are matched, no others.

    Returns:
        float16 [ceil(H/8), ceil(W/8), 3] over the stored target: x and y as fractions of the
        reference's width and height, confidence in (0, 1]; NaN = no match.
    """
    grid = empty_grid(size)
    nodes = grid_nodes(size, target)
    asked = np.flatnonzero(target.contains(nodes))
    if not len(maps) or not len(asked):
        return grid
    points = nodes[asked]
    mapped, linear, agreement, distance = _consensus(points, maps, target, settings)
    correlation = np.full(len(points), np.nan)
    if confirm is not None:
        correlation = confirm(points, mapped, linear)
    sure = (distance <= settings.sure_reach) & ~(correlation < settings.refuted)
    good = (sure | (correlation >= settings.confirmed)) & reference.contains(mapped)
    good &= agreement >= settings.least_agreement
    nearness = 1.0 - 0.5 * np.minimum(distance[good] / settings.reach, 1.0)
    alike = np.clip(np.nan_to_num(correlation[good], nan=0.5), 0.1, 1.0)
    values = np.column_stack(
        [mapped[good] / (reference.size[1], reference.size[0]), agreement[good] * nearness * alike]
    )
    grid.reshape(-1, 3)[asked[good]] = values
    return grid


def _consensus(
    points: np.ndarray, maps: LocalMaps, target: ViewArea, settings: DenseSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predict [Q, 2] points by the maps near them.

    Returns:
        Where they lie [Q, 2], NaN where no map is near; the map there [Q, 2, 2]; the share of the
        predictions that agree [Q]; the distance to the nearest that does [Q], in pixels of 512.
    """
    near = maps.near(points, count=8, reach=settings.reach * target.unit)
    predicted, there = maps.predict(points, near.index), np.isfinite(near.distance)
    weights = np.where(there, 1.0 / (1.0 + near.distance / (4.0 * target.unit)), 0.0)
    apart = np.linalg.norm(predicted[:, :, None] - predicted[:, None], axis=-1)  # [Q, K, K]
    # Maps that enlarge carry errors of the target further.
    scale = np.sqrt(np.abs(np.linalg.det(maps.linear)))[near.index]
    limit = settings.tolerance * target.unit * np.maximum(scale, 1.0)
    agrees = (apart <= limit[..., None]) & there[:, :, None] & there[:, None]
    votes = np.einsum("qkl,ql->qk", agrees, weights)
    own, best = np.arange(len(points)), votes.argmax(axis=1)
    chosen = agrees[own, best]
    share = weights * chosen / np.maximum(votes[own, best], 1e-9)[:, None]
    mapped = np.einsum("qk,qki->qi", share, predicted)
    linear = np.einsum("qk,qkij->qij", share, maps.linear[near.index])
    agreement = votes[own, best] / np.maximum(weights.sum(axis=1), 1e-9)
    distance = np.where(chosen, near.distance, np.inf).min(axis=1) / target.unit
    mapped[~np.isfinite(distance)] = np.nan
    return mapped, linear, np.minimum(agreement, 1.0), distance
