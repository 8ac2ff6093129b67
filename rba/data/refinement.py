"""Refinement mode: view A becomes the target with a hole, and the region of view B that matches the
hole becomes the reference. For validation the reference is the complete object of view B instead.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from rba.batch import Example
from rba.data.alignment import around
from rba.data.matchfield import MatchField, lattice_points, lattice_spacing, lattice_split, splat
from rba.data.recipe import Recipe, on_black
from rba.data.reduction import largest_reduction, on_grid, reduce_mask, reduced_box
from rba.data.sample import MATCH_STRIDE, RefinementRecord, pixels
from rba.data.transforms import ColorAugmentation, ColorSettings
from rba.data.warp import (
    Square,
    WarpSettings,
    between,
    check_range,
    inside_frame,
    magnification,
    place_points,
    random_warp,
    square_matrix,
    warp_image,
    warp_mask,
)
from rba.errors import InputError
from rba.geometry import Box, crop, mask_box, project, resize, resize_mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementSettings:
    """How a pair of views is cut and changed.

    Attributes:
        crop_scale: Range of the target's side, as a multiple of the object's longer side in view A.
        crop_jitter: Largest shift of the target's middle, share of its side.
        region_margin: Range of the margin around the matching region, share of its longer side.
        region_jitter: Largest shift of the region, share of its side (alignment is never exact).
        min_region: Smallest side of the region, share of the object's longer side in view B.
        object_margin: Margin around the complete object where that is the reference, same unit.
        min_confidence: Matches below are not used.
        min_matched: Share of the hole that must have a match (and be visible) to count as known.
        mask_attempts: So many masks are drawn at most until one has enough matches.
        warp: Geometry of the reference.
        target_color: Colour change of the target.
        reference_color: Colour change of the reference, independent of the target's.

    Raises:
        InputError: If a number is out of bounds.
    """

    crop_scale: Sequence[float] = (0.6, 1.4)
    crop_jitter: float = 0.15
    region_margin: Sequence[float] = (0.1, 0.6)
    region_jitter: float = 0.1
    min_region: float = 0.1875
    object_margin: float = 0.1
    min_confidence: float = 0.1
    min_matched: float = 0.5
    mask_attempts: int = 4
    warp: WarpSettings = dataclasses.field(default_factory=WarpSettings)
    target_color: ColorSettings = dataclasses.field(default_factory=ColorSettings)
    reference_color: ColorSettings = dataclasses.field(default_factory=ColorSettings)

    def __post_init__(self) -> None:
        check_range("refinement.crop_scale", self.crop_scale, 0.05, 10.0)
        check_range("refinement.region_margin", self.region_margin, 0.0, 10.0)
        for name in ("crop_jitter", "region_jitter", "min_region", "min_confidence"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"refinement.{name}={getattr(self, name)}; give 0 to 1")
        if not 0.0 < self.min_matched <= 1.0:
            raise InputError(f"refinement.min_matched={self.min_matched}; give above 0, at most 1")
        if self.mask_attempts < 1:
            raise InputError(f"refinement.mask_attempts={self.mask_attempts}; give at least 1")

    def eased(self, difficulty: float) -> "RefinementSettings":
        """Return settings whose region is closer to the target; 1 leaves them as they are."""
        return dataclasses.replace(
            self,
            region_jitter=self.region_jitter * difficulty,
            warp=self.warp.eased(difficulty),
            reference_color=self.reference_color.eased(difficulty),
        )


class RefinementExamples:
    """Make refinement examples, each a pure function of (record, draw).

    Args:
        settings: How pairs are cut and changed.
        recipe: Sizes, seed, masks.
        complete_reference: Show the complete object of view B, neither warped nor recoloured, as
            validation of the alignment needs it.
    """

    def __init__(
        self, settings: RefinementSettings, recipe: Recipe, *, complete_reference: bool = False
    ) -> None:
        self.settings = settings
        self.recipe = recipe
        self.complete_reference = complete_reference
        self._target_color = ColorAugmentation(settings.target_color)
        self._reference_color = ColorAugmentation(settings.reference_color)

    def __call__(self, record: RefinementRecord, draw: int, sample_id: str) -> Example:
        """Make the example of one draw."""
        side = self.recipe.reference_size
        rng = self.recipe.generator("geometry", draw)
        field = self._field(record)
        box = self._draw_crop(record, field, rng)
        hole, places = self._draw_hole(record, field, box, draw)
        matrix = self._frame(record, places[np.isfinite(places[:, 0])], rng)
        correspondence, visible = self._draw_correspondence(hole, field, box, matrix, places)

        target = self._target(record, box)
        reference = self._reference(record, matrix)
        object_mask = np.ones((side, side), bool)
        if record.reference_mask is not None:
            warped = warp_mask(record.reference_mask, matrix, side)
            object_mask = warped if warped.any() else object_mask
        if not self.complete_reference:
            color = self.recipe.generator("color", draw)
            target = self._target_color(target, color)
            mask = None if record.reference_mask is None else object_mask
            reference = on_black(self._reference_color(reference, color), mask)
        return Example(
            image=target,
            artifact_mask=hole,
            reference=reference,
            reference_mask=object_mask,
            correspondence_mask=correspondence,
            correspondence_known=visible >= self.settings.min_matched,
            places=self._places(field, box, matrix),
            draw=draw,
            sample_id=sample_id,
        )

    def _places(self, field: MatchField | None, box: Box, matrix: np.ndarray) -> np.ndarray | None:
        """Map the middles of the target's squares; NaN where they have no match."""
        if field is None:
            return None
        size = self.recipe.image_size
        points = place_points(size)
        mapped = field(_to_view(points.reshape(-1, 2), box, size))
        known = np.isfinite(mapped).all(axis=1)
        mapped[known] = project(mapped[known], matrix)
        return mapped.reshape(points.shape)

    def _target(self, record: RefinementRecord, box: Box) -> np.ndarray:
        """Cut the target out of view A, decoded as large as it needs it."""
        size = self.recipe.image_size
        reduction = largest_reduction(box.width / size)
        view = pixels(record.target, reduction)
        return resize(crop(view, reduced_box(box, reduction)), size, size)

    def _reference(self, record: RefinementRecord, matrix: np.ndarray) -> np.ndarray:
        """Warp view B, or its object on black, decoded as large as it needs it."""
        side = self.recipe.reference_size
        reduction = largest_reduction(1.0 / magnification(matrix, side))
        view, mask = pixels(record.reference, reduction), record.reference_mask
        shown = on_black(view, None if mask is None else reduce_mask(mask, reduction))
        return warp_image(shown, matrix @ np.diag([reduction, reduction, 1.0]), side)

    def _field(self, record: RefinementRecord) -> MatchField | None:
        if record.matches is None:
            return None
        size = (record.reference.shape[0], record.reference.shape[1])
        field = MatchField(record.matches, size, self.settings.min_confidence)
        return field if field.valid.any() else None

    def _draw_crop(
        self, record: RefinementRecord, field: MatchField | None, rng: np.random.Generator
    ) -> Box:
        """Draw the target's square: around the object, or around one match where it is closer."""
        height, width = record.target.shape[:2]
        whole = _object_box(record.target_mask, height, width)
        longer = max(whole.width, whole.height)
        scale, jitter = between(rng, self.settings.crop_scale), rng.uniform(-1.0, 1.0, 2)
        chosen = rng.random()
        side = int(np.clip(round(longer * scale), 1, min(height, width)))
        middle = np.array([whole.x0 + whole.x1, whole.y0 + whole.y1]) / 2.0
        if field is not None and side < longer:
            rows, columns = np.nonzero(field.valid)
            node = int(chosen * len(rows))
            middle = (np.array([columns[node], rows[node]]) + 0.5) * MATCH_STRIDE
        start = np.rint(middle + jitter * self.settings.crop_jitter * side - side / 2.0)
        x, y = (int(np.clip(start[i], 0, (width, height)[i] - side)) for i in (0, 1))
        grid = largest_reduction(side / self.recipe.image_size)
        return on_grid(Box(x, y, x + side, y + side), grid)

    def _draw_hole(
        self, record: RefinementRecord, field: MatchField | None, box: Box, draw: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the artifact mask where matches are.

        Returns:
            The HxW mask, and where its N pixels lie on view B, [N, 2] in pixels; NaN where they
            have no match, no rows where no pixel of the view has one.
        """
        size = self.recipe.image_size
        rng = self.recipe.generator("mask", draw)
        inside = None
        if record.target_mask is not None:
            inside = resize_mask(crop(record.target_mask, box, fill=0), size, size)
        if field is None:
            return self.recipe.draw_mask(rng, inside), np.empty((0, 2))
        matched = _covered(field, box, size)
        both = matched if inside is None else matched & inside
        best, best_places, best_share = np.zeros((size, size), bool), np.empty((0, 2)), -1.0
        for _ in range(self.settings.mask_attempts):
            hole = self.recipe.draw_mask(rng, both if both.any() else inside)
            places = field(_to_view(lattice_points(hole, 1), box, size))
            share = float(np.isfinite(places[:, 0]).mean())
            if share > best_share:
                best, best_places, best_share = hole, places, share
            if share >= self.settings.min_matched:
                break
        return best, best_places

    def _frame(
        self, record: RefinementRecord, points: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the matrix from view B to the reference."""
        side = self.recipe.reference_size
        height, width = record.reference.shape[:2]
        margin = between(rng, self.settings.region_margin)
        jitter = rng.uniform(-1.0, 1.0, 2) * self.settings.region_jitter
        warp = random_warp(self.settings.warp, rng, side)
        whole = _object_box(record.reference_mask, height, width)
        room = self.settings.object_margin if record.reference_mask is not None else 0.0
        if self.complete_reference:
            return square_matrix(around(whole, room), side)
        if not len(points):
            return warp @ square_matrix(around(whole, room), side)
        # A few wrong matches must not blow the region up.
        low, high = np.quantile(points, (0.01, 0.99), axis=0)
        smallest = self.settings.min_region * max(whole.width, whole.height)
        length = max(float((high - low).max()) * (1.0 + 2.0 * margin), smallest, 1.0)
        x, y = (low + high) / 2.0 - length / 2.0 + jitter * length
        return warp @ square_matrix(Square(float(x), float(y), length), side)

    def _draw_correspondence(
        self,
        hole: np.ndarray,
        field: MatchField | None,
        box: Box,
        matrix: np.ndarray,
        places: np.ndarray,
    ) -> tuple[np.ndarray, float]:
        """Return the soft mask on the reference, and the share of the hole that is seen there."""
        side = self.recipe.reference_size
        known = np.isfinite(places[:, 0])
        if field is None or not known.any():
            return np.zeros((side, side), np.float32), 0.0
        mapped = np.full_like(places, np.nan)
        mapped[known] = project(places[known], matrix)
        visible = float(inside_frame(mapped, side).sum()) / len(places)
        spacing = lattice_spacing(hole, mapped)
        split = lattice_split(len(places), spacing)
        if split > 1:
            finer = field(_to_view(lattice_points(hole, split), box, hole.shape[0]))
            mapped = project(finer[np.isfinite(finer[:, 0])], matrix)
        return splat(mapped, side, spacing / split), visible


def _object_box(mask: np.ndarray | None, height: int, width: int) -> Box:
    return mask_box(mask) if mask is not None and mask.any() else Box(0, 0, width, height)


def _to_view(points: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Map points of the target, ``size`` pixels wide, to pixels of the stored view."""
    return points * (box.width / size) + (box.x0, box.y0)


def _covered(field: MatchField, box: Box, size: int) -> np.ndarray:
    """Return the target's pixels that lie among nodes with a match, small gaps closed, smoothed."""
    valid = cv2.morphologyEx(field.valid.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3)))
    step = box.width / size / MATCH_STRIDE  # nodes a target pixel
    start = (np.array([box.x0, box.y0]) - MATCH_STRIDE / 2) / MATCH_STRIDE
    to_node = np.array([[step, 0.0, start[0]], [0.0, step, start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE
    share = cv2.warpAffine(
        valid.astype(np.float32), to_node, (size, size), flags=flags, borderMode=border
    )
    return share >= 0.5
