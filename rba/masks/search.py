"""Turn the knobs of a shape until its raster image has the wanted area and statistics."""

import cmath
import dataclasses
import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from rba.masks.catalogue import (
    ShapeTarget,
    as_contour,
    catalogue,
    shape_coordinates,
    shape_from_coordinates,
    stretched,
    turn_to_frame,
)
from rba.masks.shapes import Form, draw_form
from rba.masks.statistics import contour_shape, outer_contour

_SUBPIXEL_BITS = 4
# Errors are sums over compactness, solidity and elongation of differences in rank.
_GOOD, _FAIR = 0.08, 0.35
_MAX_TURNS = 8  # of an angle at which the shape fits into its room
_TRIAL_EXTENT = 128.0  # pixels: larger shapes are tried at this size, and made at theirs
_STEPS = np.array([0.05, 0.004, 0.05])  # of the knobs, to see what they do
_STROKE_STEPS = np.array([0.1, 0.1, 0.05])
_LONGEST_STEP = 8.0  # of _STEPS
_THIN = 1e-4  # compactness
_DIAGONAL = np.diag_indices(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """The border of the image cuts a shape: which side, and the share of its extent that goes."""

    side: int
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a shape is searched for.

    Attributes:
        candidates: Forms that are tried at most.
        steps: Rasterisations of each at most.
    """

    candidates: int = 3
    steps: int = 4


@dataclasses.dataclass
class Shape:
    """A form with its knobs (bend, fray, log of the short side's stretch) set, turned twice.

    Attributes:
        form: The form.
        knobs: Their values.
        frame: Unit number that turns the form's long side to the x axis.
        turn: Unit number that turns the stretched form to its angle in the image.
        cut: Where the border of the image cuts it.
        gain: What the wanted area is multiplied with to get it.
    """

    form: Form
    knobs: np.ndarray
    frame: complex
    turn: complex = 1.0 + 0.0j
    cut: Cut | None = None
    gain: float = 1.0

    def outline(self) -> np.ndarray:
        """Return the complex outline at its final angle, in the form's own units."""
        bend, fray, stretch = self.knobs.tolist()
        return stretched(self.form.outline(bend, fray) * self.frame, stretch) * self.turn

    def raster(self, pixels: float, longest: float = np.inf) -> np.ndarray:
        """Return the shape in its box, HxW uint8 0/1, of about ``pixels`` pixels.

        Args:
            pixels: Wanted area; what `gain` corrects is what the outline alone does not tell.
            longest: A larger extent is scaled down to this one.
        """
        outline = self.outline()
        contour = as_contour(outline)
        scale = scale_for(contour, pixels * self.gain)
        points = contour[:, 0] * np.float32(scale)
        if math.isfinite(longest):
            extent = float((points.max(axis=0) - points.min(axis=0)).max())
            points *= np.float32(min(1.0, longest / max(extent, 1e-9)))
        return fill(self.form.pieces, points, self.cut)


def scale_for(contour: np.ndarray, pixels: float) -> float:
    """Return the factor at which a filled contour covers ``pixels`` pixels.

    Filling takes the pixels on the contour as well: A s^2 + P s / 2 + 1.
    """
    area = max(cv2.contourArea(contour), 1e-9)
    half = 0.25 * cv2.arcLength(contour, closed=True)
    rest = max(pixels - 1.0, 0.0)
    return (np.sqrt(half**2 + area * rest) - half) / area


def fill(
    pieces: Callable[[np.ndarray], list[np.ndarray]], points: np.ndarray, cut: Cut | None = None
) -> np.ndarray:
    """Fill an outline's points (Nx2, pixels) in the smallest window that holds them."""
    cells = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    low, high = cells.min(axis=0), cells.max(axis=0)
    if cut is not None:
        axis, far = cut.side % 2, cut.side // 2
        gone = round(float(high[axis] - low[axis]) * cut.share)
        if far:
            high[axis] -= gone
        else:
            low[axis] += gone
    corner = (low + 2 ** (_SUBPIXEL_BITS - 1)) >> _SUBPIXEL_BITS
    end = (high + 2 ** (_SUBPIXEL_BITS - 1)) >> _SUBPIXEL_BITS
    cells -= corner << _SUBPIXEL_BITS
    width, height = (end - corner + 1).tolist()
    window = np.zeros((height, width), np.uint8)
    for piece in pieces(cells):
        cv2.fillPoly(window, [piece], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return window


Ranks = Callable[[float, float, float], np.ndarray]
"""(compactness, solidity, elongation) -> their ranks in the wanted population, each in [0, 1]."""


def find_shape(
    target: ShapeTarget,
    pixels: float,
    ranks: Ranks,
    families: Mapping[str, float],
    rng: np.random.Generator,
    *,
    room: tuple[float, float],
    cut: Cut | None = None,
    effort: Effort = Effort(),
) -> Shape:
    """Draw a shape that meets a target as nearly as a few trials can.

    Args:
        target: Compactness, solidity, elongation, roughness.
        pixels: Wanted area.
        ranks: What differences count by.
        families: Weight of each family.
        rng: Source of all randomness.
        room: Height and width in pixels that the shape should fit into.
        cut: Where the border of the image cuts it.
        effort: How long to search.
    """
    best, best_error = None, math.inf
    aim = target.coordinates()[:3]
    weights = _rank_weights(aim, ranks)
    for trial in range(effort.candidates):
        index = catalogue().pick(target.off_grid(pixels), families, rng)
        traits = catalogue().traits[index]
        # A new form of the entry's kind; where that fails, the one that was measured.
        form = catalogue().form(index) if trial else draw_form(traits, rng)
        knobs = np.array([traits.bend, traits.fray, float(catalogue().stretches[index])])
        frame = turn_to_frame(form.outline(traits.bend, traits.fray))
        candidate = Shape(form, knobs, frame, cut=cut)
        stroke = traits.family == "stroke"
        _start_near(candidate, target, pixels, stroke=stroke)
        candidate.turn = _choose_turn(candidate, pixels, room, rng)
        steps = _STROKE_STEPS if stroke else _STEPS
        error = _tune(candidate, target, pixels, ranks, weights, steps, effort.steps)
        if error < best_error:
            best, best_error = candidate, error
        if best_error < _FAIR:
            break
    assert best is not None
    return best


def _rank_weights(aim: np.ndarray, ranks: Ranks) -> np.ndarray:
    """Return by how much ranks rise with each coordinate around the aim."""
    spans = ranks(*shape_from_coordinates(aim + 0.05)) - ranks(*shape_from_coordinates(aim - 0.05))
    return np.clip(10.0 * np.abs(spans), 0.3, 10.0)


def _start_near(shape: Shape, target: ShapeTarget, pixels: float, *, stroke: bool) -> None:
    """Set what can be told from the outline alone: a stroke's width, and the stretch."""
    if stroke:
        wanted = target.off_grid(pixels).compactness
        compactness, _, _ = contour_shape(as_contour(shape.outline()))
        fray = shape.knobs[1] + math.log((compactness + 1e-9) / (wanted + 1e-9))
        # An outline without area is a line one pixel wide.
        shape.knobs[1] = shape.form.limits[1][1] if wanted < _THIN else min(max(fray, 0.0), 9.0)
    _, _, elongation = contour_shape(as_contour(shape.outline()))
    ratio = (target.elongation + 1e-3) / (elongation + 1e-3)
    shape.knobs[2] += min(max(math.log(ratio), -1.5), 1.5)


def _choose_turn(
    shape: Shape, pixels: float, room: tuple[float, float], rng: np.random.Generator
) -> complex:
    """Choose an angle at which the shape fits into the room: of a few, the first or the best."""
    contour = as_contour(shape.outline())
    hull = cv2.convexHull(contour).reshape(-1, 2) * scale_for(contour, pixels)
    best, best_excess = 1.0 + 0.0j, math.inf
    for _ in range(_MAX_TURNS):
        turn = cmath.exp(2j * math.pi * rng.random())
        turned = hull @ np.array([[turn.real, turn.imag], [-turn.imag, turn.real]], np.float32)
        width, height = (turned.max(axis=0) - turned.min(axis=0)).tolist()
        excess = max(height / room[0], width / room[1])
        if excess < best_excess:
            best, best_excess = turn, excess
        if excess <= 1.0:
            break
    return best


def _tune(
    shape: Shape,
    target: ShapeTarget,
    pixels: float,
    ranks: Ranks,
    weights: np.ndarray,
    steps: np.ndarray,
    num_steps: int,
) -> float:
    """Set a shape's knobs in place by damped quasi-Newton steps; return the error that is left."""
    aim = target.coordinates()[:3]
    wanted = ranks(target.compactness, target.solidity, target.elongation)
    low, high = np.array([*shape.form.limits, (-4.5, 1.0)]).T / steps
    knobs, best, best_error = shape.knobs / steps, shape.knobs, math.inf
    best_gap, damping, slopes = aim, 1.0, None
    for step in range(num_steps):
        found = contour_shape(outer_contour(shape.raster(pixels, _TRIAL_EXTENT)))
        gap = aim - shape_coordinates(*found)
        if slopes is not None:  # Broyden: what the last move did
            moved = shape.knobs / steps - knobs
            missed = (best_gap - gap) - moved @ slopes
            slopes += np.outer(moved, missed) / max(float(moved @ moved), 1e-6)
        error = float(np.abs(ranks(*found) - wanted).sum() + 0.1 * np.abs(gap).sum())
        if error < best_error:
            best, best_error, best_gap, damping = shape.knobs, error, gap, 1.0
            knobs = best / steps
        else:
            damping *= 0.5
        if best_error < _GOOD or step == num_steps - 1:
            break
        if slopes is None:
            slopes = _slopes(shape, steps)
        move = _bounded_move(slopes * weights, best_gap * weights, low - knobs, high - knobs)
        move *= damping * min(1.0, _LONGEST_STEP / max(float(np.abs(move).max()), 1e-9))
        shape.knobs = (knobs + move) * steps
    shape.knobs = best
    return best_error


def _bounded_move(
    slopes: np.ndarray, gap: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return the move (3 knobs) whose effect is nearest to the gap, knobs kept in their limits."""
    normal, wish = slopes @ slopes.T, slopes @ gap
    normal[_DIAGONAL] += 1e-3 + 0.01 * normal[_DIAGONAL].max()
    _, move = cv2.solve(normal, wish[:, None], flags=cv2.DECOMP_CHOLESKY)
    fixed = move.ravel()
    if ((fixed >= low) & (fixed <= high)).all():
        return fixed
    fixed = np.zeros(3)
    free = [0, 1, 2]
    while free:
        left = wish[free] - normal[free] @ fixed
        found = np.linalg.solve(normal[np.ix_(free, free)], left)
        beyond = [k for k, x in zip(free, found, strict=True) if not low[k] <= x <= high[k]]
        if not beyond:
            fixed[free] = found
            break
        for k in beyond:
            fixed[k] = min(max(found[free.index(k)], low[k]), high[k])
        free = [k for k in free if k not in beyond]
    return fixed


def _slopes(shape: Shape, steps: np.ndarray) -> np.ndarray:
    """Return what a step of each knob (rows) changes in the outline's coordinates (columns)."""
    bend, fray, stretch = shape.knobs.tolist()
    outline = shape.form.outline(bend, fray) * shape.frame
    moved = (
        (outline, stretch),
        (shape.form.outline(bend + steps[0], fray) * shape.frame, stretch),
        (shape.form.outline(bend, fray + steps[1]) * shape.frame, stretch),
        (outline, stretch + steps[2]),
    )
    rows = [shape_coordinates(*contour_shape(as_contour(stretched(*each)))) for each in moved]
    return np.stack(rows[1:]) - rows[0]
