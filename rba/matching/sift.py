"""Matches between two photographs by SIFT: mutual, ratio test, local affine maps, pixels."""

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np

from rba.matching.consistency import NOT_RIGID, ConsistencySettings, check_grid
from rba.matching.dense import DenseSettings, empty_grid, fill_grid
from rba.matching.features import Features, sift_features
from rba.matching.local_maps import LocalMaps, verified
from rba.matching.patches import patch_correlation
from rba.matching.tentative import guided_pairs, mutual_pairs
from rba.matching.view_area import shrink_view


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiftSettings:
    """Limits of the matcher; pixels are those of a view whose longer side has 512.

    Attributes:
        side: Larger views are matched at this longest side, pixels of their own.
        tilted: Search in compressed copies of the views as well; see `sift_features`.
        ratio: A match's descriptor distance over the second best's must lie below.
        similarity: Least product of descriptors of a match that others predict, in [0, 1].
        neighbours: Matches that are asked whether they agree with one.
        least: So many of them must.
        reach: They lie within so many pixels.
        tolerance: Pixels by which they may miss the map.
        rounds: How often matches are searched for around those that are found.
        epipolar: Pixels from the epipolar line of one rigid movement beyond which matches are
            contradictions; 0 = objects may bend.
        least_rigid: Share of the matches that must follow that movement.
        dense: When a node of the grid has a match.
        consistency: What is a contradiction.
    """

    side: int = 640
    tilted: bool = True
    ratio: float = 0.85
    similarity: float = 0.7
    neighbours: int = 10
    least: int = 4
    reach: float = 48.0
    tolerance: float = 2.5
    rounds: int = 2
    epipolar: float = 8.0
    least_rigid: float = 0.5
    dense: DenseSettings = dataclasses.field(default_factory=DenseSettings)
    consistency: ConsistencySettings = dataclasses.field(default_factory=ConsistencySettings)


@dataclasses.dataclass(frozen=True)
class SiftMatcher:
    """Match views by SIFT; picklable."""

    settings: SiftSettings = dataclasses.field(default_factory=SiftSettings)

    def __call__(
        self,
        target: np.ndarray,
        target_mask: np.ndarray | None,
        reference: np.ndarray,
        reference_mask: np.ndarray | None,
    ) -> tuple[np.ndarray, str | None]:
        """Match two views.

        Args:
            target: HxWx3 uint8 RGB.
            target_mask: HxW bool, the object, or None.
            reference: hxwx3 uint8 RGB.
            reference_mask: hxw bool, the object, or None.

        Returns:
            The grid of `match_features`, and why the pair is to be left out or None.
        """
        settings = self.settings
        views = [(target, target_mask), (reference, reference_mask)]
        first, second = (
            sift_features(*shrink_view(*view, settings.side), tilted=settings.tilted)
            for view in views
        )
        return match_features(first, second, (target.shape[0], target.shape[1]), settings)


def match_features(
    target: Features, reference: Features, size: tuple[int, int], settings: SiftSettings
) -> tuple[np.ndarray, str | None]:
    """Match two views both ways and fill the grid around the matches that agree with each other.

    Args:
        target: One view.
        reference: The other view.
        size: Height and width that the target is stored with.
        settings: Limits.

    Returns:
        float16 [ceil(H/8), ceil(W/8), 3] over the stored target: x and y as fractions of the
        reference's width and height, confidence in (0, 1]; NaN = no match. And why the pair is to
        be left out: its matches contradict each other; or None.
    """
    pairs = mutual_pairs(target, reference, settings.ratio)
    maps, fault = grow_matches(target, reference, pairs, settings)
    if not len(maps) or fault is not None:
        return empty_grid(size), fault
    back, _ = grow_matches(reference, target, pairs[:, ::-1], settings)
    there = functools.partial(patch_correlation, target, reference)
    forth = fill_grid(maps, target.area, reference.area, size, settings.dense, there)
    here = functools.partial(patch_correlation, reference, target)
    backward = fill_grid(
        back, reference.area, target.area, reference.area.size, settings.dense, here
    )
    return check_grid(forth, backward, target.area, reference.area, size, settings.consistency)


def grow_matches(
    target: Features, reference: Features, pairs: np.ndarray, settings: SiftSettings
) -> tuple[LocalMaps, str | None]:
    """Keep the pairs of key points [N, 2] that agree with each other, and search around them.

    Returns:
        The matches with the maps around them, and what contradicts all of them or None.
    """
    maps = _verify(target, reference, pairs, settings)
    reach = settings.reach * target.area.unit
    for _ in range(settings.rounds):
        if not len(maps):
            break
        found = guided_pairs(target, reference, maps, reach=reach, similarity=settings.similarity)
        pairs = np.unique(np.concatenate([pairs, found]), axis=0)
        maps = _verify(target, reference, pairs, settings)
    if not settings.epipolar:
        return maps, None
    rigid = _rigid(maps, settings.epipolar * reference.area.unit)
    return rigid, NOT_RIGID if len(rigid) < settings.least_rigid * len(maps) else None


def _verify(
    target: Features, reference: Features, pairs: np.ndarray, settings: SiftSettings
) -> LocalMaps:
    first, second = target.points[pairs[:, 0]], reference.points[pairs[:, 1]]
    # Several key points at one place would vouch for each other.
    places = np.rint(np.concatenate([first, second], axis=1)).astype(int)
    _, unique = np.unique(places, axis=0, return_index=True)
    unique.sort()
    return verified(
        first[unique],
        second[unique],
        neighbours=settings.neighbours,
        reach=settings.reach * target.area.unit,
        tolerance=settings.tolerance * reference.area.unit,
        least=settings.least,
    )


def _rigid(maps: LocalMaps, distance: float) -> LocalMaps:
    """Leave out matches that contradict the rigid movement that most agree with."""
    if len(maps) < 16:
        return maps
    cv2.setRNGSeed(0)
    found: Any = cv2.findFundamentalMat(
        maps.first, maps.second, cv2.FM_RANSAC, distance, 0.999, 2000
    )
    inliers = found[1]  # None where no movement explains enough matches
    return maps if inliers is None else maps.chosen(inliers.ravel().astype(bool))
