"""Alignment mode: a photo becomes a target with a hole, and a reference that shows it all.

The reference is the complete object, or the crop's surroundings, through an independent warp and
colour change. The warp is known, so where the hole's content lies on the reference is known too.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rba.batch import Example
from rba.data.recipe import Recipe, on_black
from rba.data.reduction import largest_reduction, on_grid, reduce_mask, reduced_box
from rba.data.sample import AlignmentRecord, pixels
from rba.data.transforms import ColorAugmentation, ColorSettings
from rba.data.warp import (
    Square,
    WarpSettings,
    between,
    check_range,
    inside_frame,
    magnification,
    mask_points,
    place_points,
    random_warp,
    square_matrix,
    warp_image,
    warp_mask,
    warp_soft_mask,
)
from rba.errors import InputError
from rba.geometry import Box, crop, mask_box, project, resize, resize_mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
    """How a photo is cut and changed.

    Attributes:
        crop_scale: Range of the target's side, share of the photo's shorter side.
        reference_scale: Range of the side of what the reference shows, as a multiple of the
            target's side; None shows the whole photo. Unused where the object's mask is known:
            there the reference is the complete object.
        object_margin: Margin around the object on the reference, share of its longer side.
        min_visible: The match counts as known if at least this share of the hole's content lies
            within the reference.
        warp: Geometry of the reference.
        target_color: Colour change of the target.
        reference_color: Colour change of the reference, independent of the target's.

    Raises:
        InputError: If a number is out of bounds.
    """

    crop_scale: Sequence[float] = (0.5, 1.0)
    reference_scale: Sequence[float] | None = (1.0, 1.6)
    object_margin: float = 0.1
    min_visible: float = 0.5
    warp: WarpSettings = dataclasses.field(default_factory=WarpSettings)
    target_color: ColorSettings = dataclasses.field(default_factory=ColorSettings)
    reference_color: ColorSettings = dataclasses.field(default_factory=ColorSettings)

    def __post_init__(self) -> None:
        check_range("alignment.crop_scale", self.crop_scale, 0.01, 1.0)
        if self.reference_scale is not None:
            check_range("alignment.reference_scale", self.reference_scale, 1.0, 100.0)
        if not 0.0 <= self.object_margin <= 2.0:
            raise InputError(f"alignment.object_margin={self.object_margin}; give 0 to 2")
        if not 0.0 < self.min_visible <= 1.0:
            raise InputError(f"alignment.min_visible={self.min_visible}; give above 0, at most 1")

    def eased(self, difficulty: float) -> "AlignmentSettings":
        """Return settings whose reference is closer to the target; 1 leaves them as they are."""
        scale = self.reference_scale
        return dataclasses.replace(
            self,
            reference_scale=scale and tuple(float(value) ** difficulty for value in scale),
            warp=self.warp.eased(difficulty),
            reference_color=self.reference_color.eased(difficulty),
        )


class AlignmentExamples:
    """Make alignment examples, each a pure function of (record, draw)."""

    def __init__(self, settings: AlignmentSettings, recipe: Recipe) -> None:
        self.settings = settings
        self.recipe = recipe
        self._target_color = ColorAugmentation(settings.target_color)
        self._reference_color = ColorAugmentation(settings.reference_color)

    def __call__(self, record: AlignmentRecord, draw: int, sample_id: str) -> Example:
        """Make the example of one draw."""
        size, side = self.recipe.image_size, self.recipe.reference_size
        rng = self.recipe.generator("geometry", draw)
        box = _draw_crop(record, self.settings.crop_scale, rng)
        box = on_grid(box, largest_reduction(box.width / size))
        frame = self._frame(record, box, rng)
        photo_to_reference = random_warp(self.settings.warp, rng, side) @ square_matrix(frame, side)

        content = None
        if record.mask is not None:
            content = resize_mask(crop(record.mask, box, fill=0), size, size)
        hole = self.recipe.draw_mask(self.recipe.generator("mask", draw), content)
        shown = hole if content is None else hole & content
        photo_to_target = square_matrix(Square(box.x0, box.y0, box.width), size)
        target_to_reference = photo_to_reference @ np.linalg.inv(photo_to_target)

        target, reference = self._pictures(record, box, photo_to_reference)
        object_mask = np.ones((side, side), bool)
        if record.mask is not None:
            warped = warp_mask(record.mask, photo_to_reference, side)
            object_mask = warped if warped.any() else object_mask
        color = self.recipe.generator("color", draw)
        target = self._target_color(target, color)
        reference = on_black(
            self._reference_color(reference, color), None if record.mask is None else object_mask
        )
        return Example(
            image=target,
            artifact_mask=hole,
            reference=reference,
            reference_mask=object_mask,
            correspondence_mask=warp_soft_mask(shown, target_to_reference, side),
            correspondence_known=self._is_known(shown, target_to_reference),
            places=self._places(target_to_reference),
            draw=draw,
            sample_id=sample_id,
        )

    def _places(self, target_to_reference: np.ndarray) -> np.ndarray:
        """Map the middles of the target's squares; NaN where they lie behind the camera."""
        points = place_points(self.recipe.image_size)
        depth = points @ target_to_reference[2, :2] + target_to_reference[2, 2]
        return np.where(depth[..., None] > 1e-6, project(points, target_to_reference), np.nan)

    def _pictures(
        self, record: AlignmentRecord, box: Box, photo_to_reference: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut target and reference out of the photo, decoded as large as both need it."""
        size, side = self.recipe.image_size, self.recipe.reference_size
        reduction = largest_reduction(
            min(box.width / size, 1.0 / magnification(photo_to_reference, side))
        )
        photo = pixels(record.image, reduction)
        target = resize(crop(photo, reduced_box(box, reduction)), size, size)
        mask = None if record.mask is None else reduce_mask(record.mask, reduction)
        to_reference = photo_to_reference @ np.diag([reduction, reduction, 1.0])
        return target, warp_image(on_black(photo, mask), to_reference, side)

    def _frame(self, record: AlignmentRecord, box: Box, rng: np.random.Generator) -> Square:
        """Return the square of the photo that the reference shows before the warp."""
        height, width = record.image.shape[:2]
        place, share = rng.random(2), rng.random()
        if record.mask is not None and record.mask.any():
            return around(mask_box(record.mask), self.settings.object_margin)
        if self.settings.reference_scale is None:
            return around(Box(0, 0, width, height), 0.0)
        low, high = self.settings.reference_scale
        side = min(box.width * (low + (high - low) * share), float(max(height, width)))
        x = _shift(box.x0, box.x1, side, float(place[0]), width)
        y = _shift(box.y0, box.y1, side, float(place[1]), height)
        return Square(x, y, side)

    def _is_known(self, shown: np.ndarray, target_to_reference: np.ndarray) -> bool:
        if not shown.any():
            return False
        points = project(mask_points(shown), target_to_reference)
        visible = inside_frame(points, self.recipe.reference_size).mean()
        return bool(visible >= self.settings.min_visible)


def around(box: Box, margin: float) -> Square:
    """Return the square around a box with a margin on every side, share of its longer side."""
    side = max(box.width, box.height) * (1.0 + 2.0 * margin)
    return Square((box.x0 + box.x1 - side) / 2.0, (box.y0 + box.y1 - side) / 2.0, side)


def _draw_crop(record: AlignmentRecord, scale: Sequence[float], rng: np.random.Generator) -> Box:
    """Draw the target's square within the photo, around an object's pixel where one is known."""
    height, width = record.image.shape[:2]
    shorter = min(height, width)
    side = int(np.clip(round(shorter * between(rng, scale)), 1, shorter))
    place = rng.random(2)
    x, y = int(place[0] * (width - side + 1)), int(place[1] * (height - side + 1))
    if record.mask is not None and record.mask.any():
        pixels = np.flatnonzero(record.mask)
        row, column = divmod(int(pixels[int(place[0] * len(pixels))]), width)
        x = min(max(column - side // 2, 0), width - side)
        y = min(max(row - side // 2, 0), height - side)
    return Box(x, y, x + side, y + side)


def _shift(low: int, high: int, side: float, share: float, length: int) -> float:
    """Place an interval of ``side`` so that it holds [low, high), within [0, length) if it fits."""
    start = high - side + share * (side - (high - low))
    if side >= length:
        return min(max((length - side) / 2.0, high - side), float(low))
    return min(max(start, 0.0), length - side)
