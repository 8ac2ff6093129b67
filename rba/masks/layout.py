"""Build a mask of drawn statistics in a window of its own: the largest component, then the rest."""

import cmath
import dataclasses

import cv2
import numpy as np

from rba.masks.catalogue import ShapeTarget, as_contour, catalogue, turn_to_frame
from rba.masks.filling import Cut, Shape, fill, scale_for
from rba.masks.grid_shapes import find_grid_shape
from rba.masks.groups import MaskGroup
from rba.masks.raster import largest_component, put, settle_area, trimmed
from rba.masks.search import Effort, find_shape
from rba.masks.shapes import draw_form
from rba.masks.statistics import MaskStatistics

_SMALLEST_COMPONENT = 3.0  # pixels, on average
_ROUNDS = 4  # of rasterising until the area is right
_KINDS = 2  # different forms among the smaller components
# In a small image a few pixels decide, and masks are drawn for training at its speed.
_SMALL_SIDE, _SMALL_EFFORT = 128, Effort(candidates=1, steps=2)
_TRIES = 12  # places tried for a component; the arena opens wider from try to try
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_KEPT_LARGEST = 0.85  # of its area, other components, so that they may grow
_LARGEST_CUT = 0.45  # share of a shape's extent that the image's border may take


@dataclasses.dataclass(frozen=True)
class BuiltMask:
    """A mask in the smallest window that holds it.

    Attributes:
        window: HxW uint8 0/1.
        cut_side: Side of the image that cuts it: 0 left, 1 top, 2 right, 3 bottom; None = no side.
    """

    window: np.ndarray
    cut_side: int | None = None


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """What several components should make together."""

    pixels: int
    count: int
    box_side: float
    cut_side: int | None


@dataclasses.dataclass
class _Arena:
    """Where components are put: what is set, what touches it, and the box to put them in."""

    canvas: np.ndarray
    near: np.ndarray
    corner: list[int]
    box: list[int]

    def place(self, piece: np.ndarray, rng: np.random.Generator) -> bool:
        """Put a piece where it touches nothing; the box opens wider from try to try."""
        rows, columns = piece.shape
        for attempt in range(_TRIES):
            spot: list[int] = []
            for axis, have in enumerate(piece.shape):
                limit, widening = self.near.shape[axis], 0.06 * attempt * self.box[axis]
                first = max(round(self.corner[axis] - widening), 0)
                last = min(round(self.corner[axis] + self.box[axis] + widening), limit) - have
                if limit < have:
                    return False
                first = min(first, max(last, 0))
                spot.append(int(rng.integers(first, max(last, first) + 1)))
            top, left = spot
            if not (self.near[top : top + rows, left : left + columns] & piece).any():
                self.stamp(piece, (top, left))
                return True
        return False

    def stamp(self, piece: np.ndarray, spot: tuple[int, int]) -> None:
        """Set a piece, whatever is there."""
        top, left = spot
        self.canvas[top : top + piece.shape[0], left : left + piece.shape[1]] |= piece
        wide = cv2.dilate(cv2.copyMakeBorder(piece, 1, 1, 1, 1, cv2.BORDER_CONSTANT), _NEIGHBOURS)
        size = (self.near.shape[0], self.near.shape[1])
        where, part = put(wide, (top - 1, left - 1), size)
        self.near[where] |= part


def build_mask(
    group: MaskGroup,
    target: MaskStatistics,
    pixels: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    free: bool,
) -> BuiltMask:
    """Build a mask.

    Args:
        group: What it is drawn from.
        target: What it should measure.
        pixels: Its area.
        size: Height and width of the image in pixels.
        rng: Source of all randomness.
        free: Whether it may lie on the border of the image, and be cut by it.
    """
    count = min(target.num_components, max(int(pixels / _SMALLEST_COMPONENT), 1))
    share = 1.0 if count == 1 else min(max(target.largest_share, 1.1 / count), 0.98)
    main_pixels = max(round(pixels * share), 1)
    touches = free and target.border_distance * min(size) < 0.5
    cut = Cut(side=int(rng.integers(4)), share=_LARGEST_CUT * rng.random()) if touches else None
    margin = 2.0 * target.border_distance * min(size) if free else 0.0
    room = (max(size[0] - margin, 1.0), max(size[1] - margin, 1.0))
    wanted = ShapeTarget(
        compactness=target.compactness,
        solidity=target.solidity,
        elongation=target.elongation,
        roughness=target.roughness,
    )
    effort = _SMALL_EFFORT if min(size) < _SMALL_SIDE else Effort()
    given = None
    if cut is None or count > 1:  # a cluster is seldom cut where its largest part lies
        given = find_grid_shape(group, wanted, (main_pixels, pixels), size, rng)
    shape, window = None, given
    if window is None:
        draw = (group.ranks, group.families, rng)
        shape = find_shape(wanted, main_pixels, *draw, room=room, cut=cut, effort=effort)
        window = _largest(shape, main_pixels, size)
    if count > 1:
        box_side = target.spread * float(np.sqrt(pixels))
        cluster = _Cluster(pixels, count, box_side, cut.side if cut else None)
        num_kinds = min(count - 1, _KINDS)
        if effort is _SMALL_EFFORT:
            num_kinds = 0 if shape else 1
        kinds = [_draw_kind(wanted, main_pixels, group, rng) for _ in range(num_kinds)]
        kinds = kinds or [shape] if shape else kinds
        window = _scatter(window, kinds, cluster, size, rng, keep=given is not None)
    return BuiltMask(window, cut.side if cut else None)


def _largest(shape: Shape, pixels: int, size: tuple[int, int]) -> np.ndarray:
    """Rasterise a shape to its area, within the size of the image."""
    window = shape.raster(pixels)
    for _ in range(_ROUNDS):
        found = int(np.count_nonzero(window))
        if abs(found - pixels) <= max(0.015 * pixels, 2.0):
            break
        shape.gain *= min(max(pixels / found, 0.5), 2.0)
        window = shape.raster(pixels)
    if window.shape[0] > size[0] or window.shape[1] > size[1]:
        corner = ((size[0] - window.shape[0]) // 2, (size[1] - window.shape[1]) // 2)
        where, part = put(window, corner, size)
        window = np.zeros(size, np.uint8)
        window[where] = part
    window = largest_component(np.ascontiguousarray(window))
    if not window.any():
        window[window.shape[0] // 2, window.shape[1] // 2] = 1
    window = settle_area(_with_room(window, pixels, size), pixels)
    return trimmed(window)


def _with_room(window: np.ndarray, pixels: int, size: tuple[int, int]) -> np.ndarray:
    """Widen a window, up to the image's size, where its shape has to grow."""
    lacking = pixels - int(np.count_nonzero(window))
    if lacking <= 0.02 * pixels:
        return window
    rim = 2 + int(np.sqrt(lacking))
    rows = min(rim, (size[0] - window.shape[0]) // 2)
    columns = min(rim, (size[1] - window.shape[1]) // 2)
    wider = np.pad(window, ((rows, rows), (columns, columns)))
    if wider.size >= pixels:
        return wider
    whole = np.zeros(size, np.uint8)
    whole[: window.shape[0], : window.shape[1]] = window
    return whole


def _draw_kind(
    target: ShapeTarget, pixels: int, group: MaskGroup, rng: np.random.Generator
) -> Shape:
    """Draw a shape like the largest component, for smaller ones."""
    index = catalogue().pick(target.off_grid(0.5 * pixels), group.families, rng)
    traits = catalogue().traits[index]
    form = draw_form(traits, rng)
    knobs = np.array([traits.bend, traits.fray, float(catalogue().stretches[index])])
    return Shape(form, knobs, turn_to_frame(form.outline(traits.bend, traits.fray)))


def _scatter(
    main: np.ndarray,
    kinds: list[Shape],
    wanted: _Cluster,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    keep: bool,
) -> np.ndarray:
    """Place the largest component and smaller ones so that none touch.

    ``keep`` leaves every pixel of the largest as it is; the others make up for its area.
    """
    arena = _open_arena(main, wanted, size, rng)
    first, beside = arena.canvas.copy(), arena.near == 0
    left = wanted.pixels - int(np.count_nonzero(main))
    outlines = [kind.outline() for kind in kinds]
    largest = int(np.count_nonzero(main))
    cap = _KEPT_LARGEST * largest if keep else largest
    shares = np.sort(rng.exponential(size=wanted.count - 1) + 0.15)[::-1]
    sums = shares[::-1].cumsum()[::-1]  # of each share and those after it
    for number in range(wanted.count - 1):
        pixels = min(max(left * shares[number] / sums[number], 1.0), cap)
        kind = number % len(kinds)
        contour = as_contour(outlines[kind] * cmath.exp(2j * cmath.pi * rng.random()))
        scale = np.float32(scale_for(contour, pixels))
        piece = fill(kinds[kind].form.pieces, contour[:, 0] * scale)
        if arena.place(piece, rng):
            left -= int(np.count_nonzero(piece))
    others = arena.canvas - first
    if keep and others.any():
        rest = max(wanted.pixels - largest, 1)
        return trimmed(first | settle_area(others, rest, beside))
    window = trimmed(arena.canvas)
    return trimmed(settle_area(_with_room(window, wanted.pixels, size), wanted.pixels))


def _open_arena(
    main: np.ndarray, wanted: _Cluster, size: tuple[int, int], rng: np.random.Generator
) -> _Arena:
    """Lay out the box of the cluster around its largest component, on the side that is cut."""
    aspect = float(np.exp(rng.normal(0.0, 0.3)))
    sides = (wanted.box_side * aspect, wanted.box_side / aspect)
    box: list[int] = []
    corner: list[int] = []
    start: list[int] = []
    for axis in range(2):
        have, limit = main.shape[axis], size[axis]
        side = min(max(round(sides[axis]), have), limit)
        low, first = (limit - side) // 2, int(rng.integers(side - have + 1))
        if wanted.cut_side is not None and wanted.cut_side % 2 == 1 - axis:
            far = wanted.cut_side // 2
            low, first = (limit - side) * far, (side - have) * far
        box.append(side)
        corner.append(low)
        start.append(low + first)
    arena = _Arena(np.zeros(size, np.uint8), np.zeros(size, np.uint8), corner, box)
    arena.stamp(main, (start[0], start[1]))
    return arena
