"""The affine map around each match, as its neighbours agree on it: wrong matches find no support.

Nothing is assumed of the object as a whole: it may bend, and faces may turn away from each other.
"""

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np
from scipy.spatial import KDTree

_CHUNK = 512  # matches whose candidate maps are held at a time
_MOST_STRETCH = 6.0  # of a map's longest axis over its shortest: a face nearly edge-on
_VOUCHING = 1 / 3  # share of the neighbours whose maps must lead to a match
_AREA = (1 / 25.0, 25.0)  # range of a map's change of area


@dataclasses.dataclass(frozen=True)
class Near:
    """The nearest matches of some points.

    Attributes:
        index: [Q, K] of the matches; arbitrary where the distance is infinite.
        distance: [Q, K] in pixels; infinite where there is no further match in reach.
    """

    index: np.ndarray
    distance: np.ndarray


@dataclasses.dataclass(frozen=True)
class LocalMaps:
    """Matches and the affine map around each of them.

    Attributes:
        first: [N, 2] points of the target, pixels.
        second: [N, 2] the same on the reference.
        linear: [N, 2, 2]: ``second + linear @ (x - first)`` is where a point near ``first`` lies.
        support: [N] how many neighbours agree with the map.
    """

    first: np.ndarray
    second: np.ndarray
    linear: np.ndarray
    support: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def chosen(self, kept: np.ndarray) -> "LocalMaps":
        """Return the matches that [N] bool or indices choose."""
        return LocalMaps(self.first[kept], self.second[kept], self.linear[kept], self.support[kept])

    def near(self, points: np.ndarray, *, count: int, reach: float) -> Near:
        """Return the ``count`` matches nearest to each of [Q, 2] points within ``reach`` pixels."""
        ranks = np.arange(1, count + 1)
        tree: Any = KDTree(self.first)
        distance, index = tree.query(points, k=ranks, distance_upper_bound=reach)
        return Near(np.minimum(index, len(self) - 1), distance)

    def predict(self, points: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return where the maps of matches [Q, K] put [Q, 2] points: [Q, K, 2]."""
        offsets = points[:, None] - self.first[index]
        return self.second[index] + np.einsum("qkij,qkj->qki", self.linear[index], offsets)


def verified(
    first: np.ndarray,
    second: np.ndarray,
    *,
    neighbours: int,
    reach: float,
    tolerance: float,
    least: int,
) -> LocalMaps:
    """Keep the matches whose neighbours agree on an affine map around them.

    Every two neighbours and the match itself give a map; the one that most neighbours agree with
    stands, fitted to all that agree. Mirrored and extremely stretched maps are none.

    Args:
        first: [N, 2] points of the target.
        second: [N, 2] the same on the reference.
        neighbours: How many are asked.
        reach: They lie within so many pixels of the match.
        tolerance: Pixels by which a neighbour may miss the map, and 5 % of its distance.
        least: Neighbours that must agree, the two that make the map among them.
    """
    empty = LocalMaps(np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0, int))
    if len(first) <= neighbours:
        return empty
    ranks = np.arange(2, neighbours + 2)
    tree: Any = KDTree(first)
    distance, index = tree.query(first, k=ranks, distance_upper_bound=reach)
    index, usable = np.minimum(index, len(first) - 1), np.isfinite(distance)
    near, far = first[index] - first[:, None], second[index] - second[:, None]
    linear, support = np.empty((len(first), 2, 2)), np.empty(len(first), int)
    for start in range(0, len(first), _CHUNK):
        rows = slice(start, start + _CHUNK)
        linear[rows], support[rows] = _best_maps(near[rows], far[rows], usable[rows], tolerance)
    maps = LocalMaps(first, second, linear, support)
    maps = maps.chosen((support >= least) & _plausible(linear))
    return maps.chosen(_vouched(maps, neighbours, reach, tolerance)) if len(maps) else maps


def _vouched(maps: LocalMaps, neighbours: int, reach: float, tolerance: float) -> np.ndarray:
    """Return which matches lie where enough of the maps around them put them.

    At the rim all neighbours of a match lie to one side: a map through a wrong match fits some of
    them by chance, but theirs do not lead to it.
    """
    ranks = np.arange(2, min(neighbours, len(maps) - 1) + 2)
    if not len(ranks):
        return np.zeros(len(maps), bool)
    tree: Any = KDTree(maps.first)
    distance, index = tree.query(maps.first, k=ranks, distance_upper_bound=reach)
    near = np.isfinite(distance)
    predicted = maps.predict(maps.first, np.minimum(index, len(maps) - 1))
    error = np.linalg.norm(predicted - maps.second[:, None], axis=-1)
    agrees = near & (error <= 2.0 * tolerance + 0.1 * np.where(near, distance, 0.0))
    return agrees.sum(axis=1) >= np.maximum(_VOUCHING * near.sum(axis=1), 1)


def _best_maps(
    near: np.ndarray, far: np.ndarray, usable: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the map [N, 2, 2] that most neighbours of each match agree with, and how many do.

    Args:
        near: [N, K, 2] offsets of the neighbours on the target.
        far: [N, K, 2] their offsets on the reference.
        usable: [N, K] which neighbours are asked.
        tolerance: Pixels.
    """
    pairs = np.array(list(combinations(range(near.shape[1]), 2)))
    source, image = near[:, pairs], far[:, pairs]  # [N, P, 2 neighbours, 2 axes]
    area = source[..., 0, 0] * source[..., 1, 1] - source[..., 0, 1] * source[..., 1, 0]
    lengths = np.linalg.norm(source, axis=-1).prod(axis=-1)
    valid = usable[:, pairs].all(axis=-1) & (np.abs(area) > 0.15 * lengths) & (lengths > 1.0)
    divisor = np.where(valid, area, 1.0)[..., None, None]
    inverse = np.empty_like(source)
    inverse[..., 0, 0], inverse[..., 0, 1] = source[..., 1, 1], -source[..., 0, 1]
    inverse[..., 1, 0], inverse[..., 1, 1] = -source[..., 1, 0], source[..., 0, 0]
    maps = np.swapaxes(inverse / divisor @ image, -1, -2)  # [N, P, 2, 2]: far = maps @ near
    valid &= _plausible(maps)
    error = np.linalg.norm(near[:, None] @ np.swapaxes(maps, -1, -2) - far[:, None], axis=-1)
    limit = tolerance + 0.05 * np.linalg.norm(far, axis=-1)
    agrees = (error <= limit[:, None]) & usable[:, None] & valid[..., None]
    # Among maps that as many agree with, the one that fits better.
    misfit = np.where(agrees, error / limit[:, None], 0.0).sum(axis=-1)
    best = (agrees.sum(axis=-1) - 0.05 * misfit).argmax(axis=1)
    own = np.arange(len(near))
    return _fit(near, far, agrees[own, best]), agrees[own, best].sum(axis=1)


def _fit(near: np.ndarray, far: np.ndarray, agrees: np.ndarray) -> np.ndarray:
    """Fit maps [N, 2, 2] to the offsets of those that agree."""
    weights = agrees[..., None].astype(np.float64)
    gram = np.einsum("nki,nkj->nij", near * weights, near) + 1e-3 * np.eye(2)
    cross = np.einsum("nki,nkj->nij", near * weights, far)
    return np.swapaxes(np.linalg.solve(gram, cross), -1, -2)


def _plausible(maps: np.ndarray) -> np.ndarray:
    """Return which of [..., 2, 2] maps keep the sides and stretch within bounds."""
    area = maps[..., 0, 0] * maps[..., 1, 1] - maps[..., 0, 1] * maps[..., 1, 0]
    squares = (maps**2).sum(axis=(-1, -2))
    # For singular values s >= t: squares = s^2 + t^2, area = s t.
    stretch = squares / np.maximum(area, 1e-9)
    return (area > _AREA[0]) & (area < _AREA[1]) & (stretch < _MOST_STRETCH + 1 / _MOST_STRETCH)
