"""Matches between two photographs by SIFT: mutual, ratio test, epipolar and local affine checks."""

import dataclasses
from typing import Any

import cv2
import numpy as np
from scipy.spatial import KDTree

from rba.matching.exact import node_positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiftSettings:
    """Limits of the matcher.

    Attributes:
        max_features: Key points a view.
        ratio: A match's descriptor distance over the second best's must lie below.
        epipolar: Largest distance from the epipolar line, pixels.
        radius: A grid node needs a match within so many pixels.
        neighbours: Matches that the local affine map of a node or match is fitted to.
        residual: Largest disagreement of neighbours with their local map, pixels.
    """

    max_features: int = 4000
    ratio: float = 0.85
    epipolar: float = 4.0
    radius: float = 20.0
    neighbours: int = 6
    residual: float = 4.0


@dataclasses.dataclass(frozen=True)
class Features:
    """Key points of one view.

    Attributes:
        points: [N, 2] (x, y) in pixels, pixel centres at i + 0.5.
        descriptors: [N, 128] float32, root-SIFT.
        size: Height and width of the view.
        mask: HxW bool, the object, or None.
    """

    points: np.ndarray
    descriptors: np.ndarray
    size: tuple[int, int]
    mask: np.ndarray | None


def sift_features(
    image: np.ndarray, mask: np.ndarray | None = None, settings: SiftSettings | None = None
) -> Features:
    """Find key points of an HxWx3 uint8 view, only on its HxW object mask where that is known."""
    settings = settings or SiftSettings()
    detector = cv2.SIFT.create(settings.max_features)
    area = None if mask is None else mask.astype(np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = detector.detectAndCompute(grey, area)
    size = (image.shape[0], image.shape[1])
    if not keypoints:
        return Features(np.empty((0, 2)), np.empty((0, 128), np.float32), size, mask)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float64) + 0.5
    share = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return Features(points, np.sqrt(share).astype(np.float32), size, mask)


def sift_matches(
    target: Features, reference: Features, settings: SiftSettings | None = None
) -> np.ndarray:
    """Match two views and fill the grid around the matches that agree with each other.

    Returns:
        float16 [ceil(H/8), ceil(W/8), 3] over the target: x and y as fractions of the reference's
        width and height, confidence in [0, 1]; NaN = no match.
    """
    settings = settings or SiftSettings()
    first, second = match_points(target, reference, settings)
    rows, columns = node_positions(target.size[0]), node_positions(target.size[1])
    grid = np.full((len(rows), len(columns), 3), np.nan, np.float32)
    if len(first) <= settings.neighbours:
        return grid.astype(np.float16)
    x, y = np.meshgrid(columns, rows)
    nodes = np.stack([x.ravel(), y.ravel()], axis=1)
    allowed = (nodes < (target.size[1], target.size[0])).all(axis=1)
    allowed &= _on_mask(nodes, target)
    mapped, residual, distance = _local_maps(nodes, first, second, settings.neighbours, skip=0)
    good = allowed & (residual <= settings.residual) & (distance <= settings.radius)
    good &= _on_mask(mapped, reference)
    confidence = np.exp(-residual / settings.residual) * (1.0 - 0.5 * distance / settings.radius)
    values = np.column_stack([mapped / (reference.size[1], reference.size[0]), confidence])
    grid.reshape(-1, 3)[good] = values[good]
    return grid.astype(np.float16)


def match_points(
    target: Features, reference: Features, settings: SiftSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return matched points of both views, [N, 2] each, after all checks."""
    empty = np.empty((0, 2))
    least = max(8, settings.neighbours + 2)
    if min(len(target.points), len(reference.points)) < least:
        return empty, empty
    pairs = _mutual(target.descriptors, reference.descriptors, settings.ratio)
    first, second = target.points[pairs[:, 0]], reference.points[pairs[:, 1]]
    # Repeated descriptors at one place would make the local fits degenerate.
    _, unique = np.unique(np.rint(first).astype(int), axis=0, return_index=True)
    first, second = first[np.sort(unique)], second[np.sort(unique)]
    if len(first) < least:
        return empty, empty
    cv2.setRNGSeed(0)
    found: Any = cv2.findFundamentalMat(
        first, second, cv2.FM_RANSAC, settings.epipolar, 0.999, 5000
    )
    if found[1] is None:  # no geometry agrees with the matches
        return empty, empty
    kept = found[1].ravel().astype(bool)
    first, second = first[kept], second[kept]
    for _ in range(2):  # wrong matches also spoil their neighbours' fits, so once more without them
        if len(first) < least:
            return empty, empty
        predicted, spread, _ = _local_maps(first, first, second, settings.neighbours, skip=1)
        error = np.linalg.norm(predicted - second, axis=1)
        kept = (error <= 2.0 * settings.residual) & (spread <= 2.0 * settings.residual)
        first, second = first[kept], second[kept]
    return first, second


def _mutual(target: np.ndarray, reference: np.ndarray, ratio: float) -> np.ndarray:
    """Return index pairs [N, 2] that are each other's nearest and clearly nearer than the next."""
    similarity = target @ reference.T
    best = similarity.argmax(axis=1)
    back = similarity.argmax(axis=0)
    own = np.arange(len(target))
    top = np.partition(similarity, -2, axis=1)[:, -2:]
    nearest, next_nearest = (np.sqrt(np.maximum(2.0 - 2.0 * top[:, i], 0.0)) for i in (1, 0))
    chosen = (back[best] == own) & (nearest < ratio * next_nearest)
    return np.stack([own[chosen], best[chosen]], axis=1)


def _local_maps(
    queries: np.ndarray, first: np.ndarray, second: np.ndarray, count: int, *, skip: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map queries by the affine fit of their nearest matches.

    Args:
        queries: [Q, 2] points of the target.
        first: [N, 2] matched points of the target.
        second: [N, 2] the same on the reference.
        count: Matches of each fit.
        skip: Nearest matches left out: 1 where the queries are the matches themselves.

    Returns:
        Mapped queries [Q, 2], the median residual of each fit [Q], the distance to the nearest
        match used [Q]; all in pixels.
    """
    found: Any = KDTree(first).query(queries, k=skip + count)
    distances, nearest = found
    source, destination = first[nearest[:, skip:]], second[nearest[:, skip:]]
    distance = distances[:, skip]
    middle, target_middle = source.mean(axis=1, keepdims=True), destination.mean(axis=1)
    centred = source - middle
    # A little regularisation towards no stretch keeps fits of points in a line finite.
    gram = np.einsum("qni,qnj->qij", centred, centred) + np.eye(2)
    cross = np.einsum("qni,qnj->qij", centred, destination - target_middle[:, None])
    linear = np.linalg.solve(gram, cross)
    fitted = centred @ linear + target_middle[:, None]
    residual = np.median(np.linalg.norm(fitted - destination, axis=2), axis=1)
    mapped = np.einsum("qi,qij->qj", queries - middle[:, 0], linear) + target_middle
    return mapped, residual, distance


def _on_mask(points: np.ndarray, view: Features) -> np.ndarray:
    """Return which points lie within a view, and on its object where that is known."""
    height, width = view.size
    inside = np.all((points >= 0) & (points < (width, height)), axis=1)
    if view.mask is None:
        return inside
    x = np.clip(points[:, 0].astype(int), 0, width - 1)
    y = np.clip(points[:, 1].astype(int), 0, height - 1)
    return inside & view.mask[y, x]
