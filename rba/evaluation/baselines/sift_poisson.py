"""SIFT homography: the hole's place on the reference, pasted and Poisson-blended."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from rba.case import Case
from rba.evaluation.baselines.transfer import (
    FIT,
    Warped,
    align_finely,
    not_found,
    plausible,
    transfer,
    warp_reference,
)
from rba.evaluation.methods import MethodResult
from rba.geometry import mask_box, resize, resize_mask
from rba.matching.features import Features, sift_features
from rba.matching.sift import SiftSettings, grow_matches
from rba.matching.tentative import mutual_pairs


@dataclasses.dataclass(frozen=True, kw_only=True)
class HomographySettings:
    """How the map from image to reference is found.

    Attributes:
        smallest_side: Smaller pictures are enlarged to this longest side in pixels.
        largest_side: Larger ones are shrunk to this one.
        tilted: Search in compressed copies of both pictures as well (ASIFT).
        ratio: A match's descriptor distance over the second best's must lie below.
        tolerance: Pixels by which an inlier may miss the map, at the working size.
        pools: Maps are fitted to all matches and to so many that lie nearest to the hole: an
            object's faces follow different maps.
        least: Inliers that a map needs.
        agreement: The map's correlation with the image around the hole must reach this.
    """

    smallest_side: int = 384
    largest_side: int = 640
    tilted: bool = True
    ratio: float = 0.85
    tolerance: float = 3.0
    pools: tuple[int, ...] = (80, 40, 20, 10)
    least: int = 5
    agreement: float = 0.2


@dataclasses.dataclass(frozen=True)
class _Candidate:
    index: int
    matrix: np.ndarray
    inliers: int
    warped: Warped


@dataclasses.dataclass(frozen=True)
class SiftPoisson:
    """The row ``sift_poisson``; deterministic, no weights.

    Attributes:
        options: Limits.
    """

    options: HomographySettings = dataclasses.field(default_factory=HomographySettings)
    name: str = "sift_poisson"
    description: str = (
        "SIFT matches outside the hole give a homography to the reference; the hole's place there "
        "is pasted and Poisson-blended."
    )

    def settings(self) -> Mapping[str, object]:
        """Return the limits, and how the map is fitted at last."""
        lists = {"pools": list(self.options.pools)}
        return dataclasses.asdict(self.options) | lists | {"fit": FIT}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield one result a case; the image as it came where no map is found."""
        del numbers
        for case in cases:
            yield self._refine(case)

    def _refine(self, case: Case) -> MethodResult:
        best: _Candidate | None = None
        reasons: list[str] = []
        filled = cv2.inpaint(case.image, case.artifact_mask.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        target, scale = self._features(filled, ~case.artifact_mask)
        for index, picture in enumerate(case.references):
            reference, other = self._features(picture, case.reference_masks[index])
            first, second = _matches(target, reference, self.options)
            candidates = self._candidates(case, index, first / scale, second / other, other)
            if not candidates:
                reasons.append(f"{len(first)} matches, no map that holds around the hole")
            for candidate in candidates:
                if best is None or _rank(candidate) > _rank(best):
                    best = candidate
        if best is None:
            return not_found(case, "; ".join(reasons))
        matrix, warped = align_finely(case, best.index, best.matrix, best.warped)
        return transfer(case, best.index, matrix, warped)

    def _features(self, image: np.ndarray, mask: np.ndarray | None) -> tuple[Features, float]:
        """Return key points at the working size, and its pixels for one of the picture."""
        longest = max(image.shape[:2])
        side = min(max(longest, self.options.smallest_side), self.options.largest_side)
        height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
        shown = None if mask is None else resize_mask(mask, height, width)
        found = sift_features(resize(image, height, width), shown, tilted=self.options.tilted)
        return found, side / longest

    def _candidates(
        self, case: Case, index: int, first: np.ndarray, second: np.ndarray, scale: float
    ) -> list[_Candidate]:
        """Return the maps that hold around the hole, each fitted to another choice of matches."""
        box = mask_box(case.artifact_mask)
        middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2.0
        order = np.argsort(np.linalg.norm(first - middle, axis=1), kind="stable")
        pools = [order, *(order[:n] for n in self.options.pools if n < len(order))]
        found: list[_Candidate] = []
        for pool in pools:
            for matrix, inliers in _fits(first[pool], second[pool], self.options.tolerance / scale):
                if inliers < self.options.least or not plausible(matrix, case.artifact_mask):
                    continue
                warped = warp_reference(case, index, matrix)
                if warped is not None and warped.agreement >= self.options.agreement:
                    found.append(_Candidate(index, matrix, inliers, warped))
        return found


def _rank(candidate: _Candidate) -> tuple[float, int]:
    return candidate.warped.agreement, candidate.inliers


def _matches(
    target: Features, reference: Features, options: HomographySettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return matched points [N, 2] of both; those that neighbours vouch for, where enough do."""
    pairs = mutual_pairs(target, reference, options.ratio)
    settings = SiftSettings(tilted=options.tilted, ratio=options.ratio, epipolar=0.0)
    maps, _ = grow_matches(target, reference, pairs, settings)
    if len(maps) >= 2 * options.least:
        return maps.first, maps.second
    return target.points[pairs[:, 0]], reference.points[pairs[:, 1]]


def _fits(
    first: np.ndarray, second: np.ndarray, tolerance: float
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (3x3 map, inliers): a homography, an affine map and a similarity."""
    if len(first) < 4:
        return
    cv2.setRNGSeed(0)
    options: dict[str, Any] = {"ransacReprojThreshold": tolerance, "maxIters": 2000}
    # OpenCV asks for a homography's matches to be no four on a line; else it finds none.
    found: Any = cv2.findHomography(first, second, cv2.RANSAC, **options)
    if found[0] is not None:
        yield found[0], int(found[1].sum())
    for fit in (cv2.estimateAffine2D, cv2.estimateAffinePartial2D):
        found = fit(first, second, method=cv2.RANSAC, **options)
        if found[0] is not None:
            yield np.vstack([found[0], [0.0, 0.0, 1.0]]), int(found[1].sum())
