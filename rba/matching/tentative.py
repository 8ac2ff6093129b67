"""Pairs of key points that may be the same point: by description alone, or near where they should
be.
"""

from typing import Any

import numpy as np
from scipy.spatial import KDTree

from rba.matching.features import Features
from rba.matching.local_maps import LocalMaps

_CHUNK = 1024  # rows of the table of similarities held at a time
_SAME_PLACE = 3.0  # pixels of 512 within which key points are no rivals


def mutual_pairs(target: Features, reference: Features, ratio: float) -> np.ndarray:
    """Return index pairs [N, 2] that are each other's nearest and clearly nearer than the next.

    Key points of the views as they are meet all of the other view, tilted ones those of the other
    view as it is. Exchanging the views exchanges the columns.

    Args:
        target: One view.
        reference: The other view.
        ratio: The distance of descriptors over that of the second best must lie below, from both
            sides; key points at the same place are no second best.
    """
    first, second = target.num_upright, reference.num_upright
    every = slice(None)
    pairs = [_mutual(target, reference, every, slice(second), ratio)]
    if len(reference.points) > second:
        pairs.append(_mutual(target, reference, slice(first), every, ratio))
    return np.unique(np.concatenate(pairs), axis=0)


def _mutual(
    target: Features, reference: Features, rows: slice, columns: slice, ratio: float
) -> np.ndarray:
    first, second = target.descriptors[rows], reference.descriptors[columns]
    if not len(first) or not len(second):
        return np.empty((0, 2), int)
    best = np.empty(len(first), int)
    back, highest = np.zeros(len(second), int), np.full(len(second), -1.0, np.float32)
    for start in range(0, len(first), _CHUNK):
        similarity = first[start : start + _CHUNK] @ second.T
        best[start : start + _CHUNK] = similarity.argmax(axis=1)
        top = similarity.max(axis=0)
        better = top > highest
        back[better] = start + similarity[:, better].argmax(axis=0)
        highest[better] = top[better]
    own = np.flatnonzero(back[best] == np.arange(len(first)))
    pairs = np.stack([own, best[own]], axis=1)
    clear = _is_clear(first, second, reference, pairs, ratio)
    clear[clear] = _is_clear(second, first, target, pairs[clear, ::-1], ratio)
    return pairs[clear]


def _is_clear(
    first: np.ndarray, second: np.ndarray, view: Features, pairs: np.ndarray, ratio: float
) -> np.ndarray:
    """Return which pairs are clearly nearer than the next best among ``second``, of ``view``."""
    clear = np.empty(len(pairs), bool)
    places = view.points[: len(second)]
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        similarity = first[chunk[:, 0]] @ second.T
        score = similarity[np.arange(len(chunk)), chunk[:, 1]]
        # One place has several key points, of several directions and tilts.
        around: Any = KDTree(places).query_ball_point(
            places[chunk[:, 1]], _SAME_PLACE * view.area.unit
        )
        for row, neighbours in enumerate(around):
            similarity[row, neighbours] = 0.0
        rival = similarity.max(axis=1)
        distance, next_distance = (np.sqrt(np.maximum(2.0 - 2.0 * s, 0.0)) for s in (score, rival))
        clear[start : start + _CHUNK] = distance < ratio * next_distance
    return clear


def guided_pairs(
    target: Features, reference: Features, maps: LocalMaps, *, reach: float, similarity: float
) -> np.ndarray:
    """Return index pairs [N, 2] of key points near where maps around them predict them.

    Args:
        target: One view.
        reference: The other view.
        maps: Verified matches and the map around each of them.
        reach: A key point needs a verified match within so many pixels of the target.
        similarity: Least product of descriptors, in [0, 1].
    """
    near = maps.near(target.points, count=3, reach=reach)
    predicted = maps.predict(target.points, near.index)  # [N, 3, 2]
    gate = 3.0 * target.area.unit + 0.12 * near.distance
    tree: Any = KDTree(reference.points)
    count = min(8, len(reference.points))
    places = np.where(np.isfinite(gate)[..., None], predicted, -1e9)
    distance, index = tree.query(places, k=np.arange(1, count + 1))
    allowed = (distance <= gate[..., None]).reshape(len(target.points), -1)
    index = np.minimum(index, len(reference.points) - 1).reshape(allowed.shape)
    scores = np.einsum("nd,nkd->nk", target.descriptors, reference.descriptors[index])
    scores = np.where(allowed, scores, -1.0)
    chosen = scores.argmax(axis=1)
    own = np.arange(len(target.points))
    best, score = index[own, chosen], scores[own, chosen]
    order = np.argsort(score, kind="stable")
    back = np.full(len(reference.points), -1)
    back[best[order]] = order
    kept = (back[best] == own) & (score >= similarity)
    return np.stack([own[kept], best[kept]], axis=1)
