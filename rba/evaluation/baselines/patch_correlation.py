"""Cross-correlation patch: where the hole's surroundings fit the reference best is pasted."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from rba.case import Case
from rba.evaluation.baselines.template import NOT_POSSIBLE, best_corner, correlate, cut_template
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
from rba.inference.frames import Frame, cut_reference, reference_frame, zoom_in

_COARSE, _FINE = 112, 256  # pixels, the sides on which pictures are searched
_BLUR = 1.2  # pixels of the search: what is seen from aside still correlates
_STEPS = 2  # each refinement tries so many scales and angles


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Which patches are tried.

    Attributes:
        scales: Of the reference's content against the image's, both pictures shown equally large.
        angles: Degrees.
        surroundings: Margin around the hole in sides of its box that takes part.
        kept: So many of the best coarse places are refined.
        agreement: The correlation that a patch must reach.
    """

    scales: tuple[float, ...] = (0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0)
    angles: tuple[float, ...] = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
    surroundings: float = 0.75
    kept: int = 6
    agreement: float = 0.2


@dataclasses.dataclass(frozen=True)
class _Place:
    """A scale, an angle and a corner (x, y) in the searched frame, with their correlation."""

    score: float
    scale: float
    angle: float
    corner: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Views:
    """Image and reference, squared, at the side of one search; where the object may lie."""

    image: Frame
    reference: Frame
    pixels: np.ndarray
    allowed: np.ndarray


@dataclasses.dataclass(frozen=True)
class PatchCorrelation:
    """The row ``patch_correlation``; deterministic, no weights.

    Attributes:
        options: Limits.
    """

    options: SearchSettings = dataclasses.field(default_factory=SearchSettings)
    name: str = "patch_correlation"
    description: str = (
        "The hole's surroundings are searched for in the reference by normalised "
        "cross-correlation; the best patch is pasted and Poisson-blended."
    )

    def settings(self) -> Mapping[str, object]:
        """Return the limits, and how the map is fitted at last."""
        lists = {"scales": list(self.options.scales), "angles": list(self.options.angles)}
        return dataclasses.asdict(self.options) | lists | {"fit": FIT}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield one result a case; the image as it came where no patch is found."""
        del numbers
        for case in cases:
            yield self._refine(case)

    def _refine(self, case: Case) -> MethodResult:
        best: tuple[int, np.ndarray, Warped] | None = None
        for index in range(len(case.references)):
            for matrix in self._maps(case, index):
                if not plausible(matrix, case.artifact_mask):
                    continue
                warped = warp_reference(case, index, matrix)
                if warped is None:
                    continue
                matrix, warped = align_finely(case, index, matrix, warped)
                if best is None or warped.agreement > best[2].agreement:
                    best = (index, matrix, warped)
        if best is None or best[2].agreement < self.options.agreement:
            return not_found(case, "no patch of the reference fits the hole's surroundings")
        return transfer(case, *best)

    def _maps(self, case: Case, index: int) -> Iterator[np.ndarray]:
        """Yield the maps from image to reference of the best places."""
        options = self.options
        views = _make_views(case, index, _COARSE)
        tried = itertools.product(options.scales, options.angles)
        places = [_search(views, scale, angle, options.surroundings) for scale, angle in tried]
        ranked = sorted(places, key=lambda place: -place.score)[: options.kept]
        fine = _make_views(case, index, _FINE)
        for place in ranked:
            if place.score > NOT_POSSIBLE:
                yield _map(fine, _refined(fine, place, options.surroundings), options.surroundings)


def _make_views(case: Case, index: int, side: int) -> _Views:
    picture, known = case.references[index], case.reference_masks[index]
    image = zoom_in(case.image, case.artifact_mask, side, factor=None, magnification=1e9)
    reference = reference_frame(picture, None, side, object_margin=0.0)
    pixels = cut_reference(picture, None, reference.box, side).astype(np.float32)
    allowed = np.ones(picture.shape[:2], bool) if known is None else known
    shown = cut_reference(
        np.repeat(allowed[..., None] * np.uint8(255), 3, 2), None, reference.box, side
    )
    blurred = dataclasses.replace(image, pixels=cv2.GaussianBlur(image.pixels, (0, 0), _BLUR))
    return _Views(blurred, reference, cv2.GaussianBlur(pixels, (0, 0), _BLUR), shown[..., 0] > 127)


def _search(
    views: _Views,
    scale: float,
    angle: float,
    surroundings: float,
    near: tuple[float, float] | None = None,
) -> _Place:
    """Return the best place of one scale and angle; the hole's middle lies on the object.

    Args:
        views: Of one side.
        scale: Of the template.
        angle: Degrees.
        surroundings: As the settings have it.
        near: The middle (x, y) as a share of the frame's side that is kept to within 5 %.
    """
    template = cut_template(views.image, scale, angle, surroundings)
    length = template.pixels.shape[0]
    side = views.reference.side
    half = length // 2
    # The hole's middle may lie anywhere, so its surroundings may reach outside the reference.
    target = np.pad(views.pixels, ((half, half), (half, half), (0, 0)), mode="edge")
    x0 = y0 = -half
    if near is not None:
        reach = max(4, round(0.05 * side))
        x0, y0 = (min(max(round(v * side) - reach, 0), side - 1) - half for v in near)
        size = length + 2 * reach
        target = np.ascontiguousarray(target[y0 + half :, x0 + half :][:size, :size])
    scores = correlate(target, template)
    if scores is None:
        return _Place(NOT_POSSIBLE, scale, angle, (0, 0))
    rows, columns = (
        np.minimum(np.arange(n) + start + half, side - 1)
        for n, start in zip(scores.shape, (y0, x0), strict=True)
    )
    scores = np.where(views.allowed[np.ix_(rows, columns)], scores, -1.0)
    score, (x, y) = best_corner(scores)
    return _Place(score, scale, angle, (x + x0, y + y0))


def _refined(views: _Views, place: _Place, surroundings: float) -> _Place:
    """Search around a coarse place with finer and finer steps of scale and angle."""
    length = cut_template(views.image, place.scale, place.angle, surroundings).pixels.shape[0]
    # The corner was found at the coarse side; its middle is kept.
    coarse = place.corner[0] / _COARSE, place.corner[1] / _COARSE
    half = length / 2 / views.reference.side
    best = _Place(NOT_POSSIBLE, place.scale, place.angle, (0, 0))
    near = (coarse[0] + half, coarse[1] + half)
    factor, turn = 1.12, 7.5
    for _ in range(_STEPS):
        around = best if best.score > NOT_POSSIBLE else place
        for power, step in itertools.product((-1, 0, 1), repeat=2):
            scale, angle = around.scale * factor**power, around.angle + step * turn
            found = _search(views, scale, angle, surroundings, near)
            if found.score > best.score:
                best = found
        factor, turn = factor**0.5, turn / 2
    return best


def _map(views: _Views, place: _Place, surroundings: float) -> np.ndarray:
    """Return the 3x3 map from the image's pixels to the reference's (centres at +0.5)."""
    template = cut_template(views.image, place.scale, place.angle, surroundings)
    turned = np.vstack([template.matrix, [0.0, 0.0, 1.0]])
    shift = np.array([[1.0, 0.0, place.corner[0]], [0.0, 1.0, place.corner[1]], [0.0, 0.0, 1.0]])
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    there = half @ shift @ turned @ np.linalg.inv(half)
    return np.linalg.inv(_to_frame(views.reference)) @ there @ _to_frame(views.image)


def _to_frame(frame: Frame) -> np.ndarray:
    """Return the 3x3 map from a picture's pixels to its frame's."""
    scale = frame.side / frame.box.width
    return np.array(
        [[scale, 0.0, -scale * frame.box.x0], [0.0, scale, -scale * frame.box.y0], [0.0, 0.0, 1.0]]
    )
