"""Turn the knobs of a shape until its raster image has the wanted area and statistics."""

import cmath
import dataclasses
import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from rba.masks.catalogue import (
    GRID_LENGTH,
    ShapeTarget,
    as_contour,
    catalogue,
    shape_coordinates,
    shape_from_coordinates,
    stretched,
    turn_to_frame,
)
from rba.masks.filling import Cut, Shape, scale_for
from rba.masks.shapes import draw_disc, draw_form, straight_bar
from rba.masks.statistics import contour_shape, outer_contour

# Errors are sums over compactness, solidity and elongation of differences in rank.
_GOOD, _FAIR = 0.12, 0.35
_MAX_TURNS = 8  # of an angle at which the shape fits into its room
_TRIAL_EXTENT = 128.0  # pixels: larger shapes are tried at this size, and made at theirs
_STEPS = np.array([0.05, 0.004, 0.05])  # of the knobs, to see what they do
_STROKE_STEPS = np.array([0.1, 0.1, 0.05])
_LONGEST_STEP = 8.0  # of _STEPS
_SAME = 1e-6  # of coordinates
_THIN = 1e-4  # compactness
# Straight bars are tried at several angles, frayed ellipses with several edges.
_PLAIN_TRIALS = {"stroke": 3, "blob": 2}
_PLAINLY_GOOD = 0.35
_GRID_WIDTH = 1.8  # pixels that the grid may add to the width of a bar's box
_EVEN = 0.985  # elongation from which a disc is made as long as wide
_MORE_STEPS = 2  # for those
_CONVEX, _NEARLY = 0.95, 0.2  # solidity of an outline, logarithm of compactness
_DIAGONAL = np.diag_indices(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a shape is searched for.

    Attributes:
        candidates: Forms that are tried at most.
        steps: Rasterisations of each at most.
    """

    candidates: int = 3
    steps: int = 4


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
    goal = _Goal(target, pixels, ranks, room)
    plain = _plain_family(target, pixels, families) if effort.candidates > 1 else None
    trials = _PLAIN_TRIALS[plain] if plain else 0
    for trial in range(-trials, effort.candidates):
        if plain and trial < 0:
            family, candidate = plain, _plain(plain, target, rng)
        else:
            family, candidate = _from_catalogue(target.off_grid(pixels), families, trial, rng)
        candidate.cut = cut
        if family == "stroke":
            _set_width(candidate, target.off_grid(pixels).compactness)
        if trial >= 0:
            _set_stretch(candidate, target.elongation)
        if not (trial < 0 and family == "blob" and target.elongation > _EVEN):
            candidate.turn = _choose_turn(candidate, pixels, room, rng)
        steps = _STROKE_STEPS if family == "stroke" else _STEPS
        error = _tune(candidate, goal, steps, effort.steps + (_MORE_STEPS if trial < 0 else 0))
        if error < best_error:
            best, best_error = candidate, error
        if best_error < (_FAIR if trial >= 0 else _PLAINLY_GOOD):
            break
    assert best is not None
    return best


class _Goal:
    """What a search is after."""

    def __init__(
        self, target: ShapeTarget, pixels: float, ranks: Ranks, room: tuple[float, float]
    ) -> None:
        self.aim = target.coordinates()[:3]
        self.pixels, self.ranks, self.room = pixels, ranks, room
        self.wanted = ranks(target.compactness, target.solidity, target.elongation)
        self.weights = _rank_weights(self.aim, ranks)


def _from_catalogue(
    target: ShapeTarget, families: Mapping[str, float], trial: int, rng: np.random.Generator
) -> tuple[str, Shape]:
    """Draw a new form of a near entry's kind; after the first trial, the one that was measured."""
    index = catalogue().pick(target, families, rng)
    traits = catalogue().traits[index]
    form = catalogue().form(index) if trial > 0 else draw_form(traits, rng)
    knobs = np.array([traits.bend, traits.fray, float(catalogue().stretches[index])])
    return traits.family, Shape(form, knobs, turn_to_frame(form.outline(traits.bend, traits.fray)))


def _plain_family(target: ShapeTarget, pixels: float, families: Mapping[str, float]) -> str | None:
    """Tell where the numbers are those of a straight bar or nearly of an ellipse.

    Among such, differences are small and the pixel grid's part in them is large: forms with
    features of their own would not meet them.
    """
    area, length = target.area_and_length(pixels)
    long = max(0.5 * length - 2.0 * area / max(length, 1e-9), 1e-9)
    if families.get("stroke", 0.0) > 0 and target.elongation * long <= area / long + _GRID_WIDTH:
        return "stroke"
    if families.get("blob", 0.0) > 0 and target.off_grid(pixels).solidity > _CONVEX:
        lacking = math.log(_ellipse_compactness(target.elongation) / (target.compactness + 1e-3))
        if abs(lacking) < _NEARLY:
            return "blob"
    return None


def _plain(family: str, target: ShapeTarget, rng: np.random.Generator) -> Shape:
    if family == "stroke":
        return Shape(straight_bar(), np.array([rng.random(), 3.0, 0.0]), 1.0 + 0.0j)
    stretch = math.log(max(target.elongation, 1e-2))
    even = target.elongation > _EVEN
    lacking = math.log(_ellipse_compactness(target.elongation) / (target.compactness + 1e-3))
    # Waves so low that the disc stays convex tell nothing about solidity: some to begin with.
    bend = 0.0 if even else 2.0 * math.sqrt(max(lacking - 0.01, 0.0)) * rng.uniform(0.4, 1.0)
    return Shape(draw_disc(rng, even=even), np.array([bend, 0.0, stretch]), 1.0 + 0.0j)


def _ellipse_compactness(elongation: float) -> float:
    """Return the compactness of an ellipse on the pixel grid (circumference after Ramanujan)."""
    ratio = max(elongation, 1e-3)
    mean_axis = 0.5 * (1.0 + ratio) * (1.0 + 0.25 * ((1.0 - ratio) / (1.0 + ratio)) ** 2)
    return ratio / (mean_axis * GRID_LENGTH) ** 2


def _rank_weights(aim: np.ndarray, ranks: Ranks) -> np.ndarray:
    """Return by how much ranks rise with each coordinate around the aim."""
    spans = ranks(*shape_from_coordinates(aim + 0.05)) - ranks(*shape_from_coordinates(aim - 0.05))
    return np.clip(10.0 * np.abs(spans), 0.3, 10.0)


def _set_width(stroke: Shape, compactness: float) -> None:
    """Make a stroke as thin as its outline's compactness asks for."""
    found, _, _ = contour_shape(as_contour(stroke.outline()))
    thinner = stroke.knobs[1] + math.log((found + 1e-9) / (compactness + 1e-9))
    # An outline without area is a line one pixel wide.
    thinnest = stroke.form.limits[1][1]
    stroke.knobs[1] = thinnest if compactness < _THIN else min(max(thinner, 0.0), 9.0)


def _set_stretch(shape: Shape, elongation: float) -> None:
    """Stretch a shape's outline to an elongation."""
    _, _, found = contour_shape(as_contour(shape.outline()))
    ratio = math.log((elongation + 1e-3) / (found + 1e-3))
    shape.knobs[2] += min(max(ratio, -1.5), 1.5)


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


def _tune(shape: Shape, goal: _Goal, steps: np.ndarray, num_steps: int) -> float:
    """Set a shape's knobs in place by damped quasi-Newton steps; return the error that is left."""
    low, high = np.array([*shape.form.limits, (-4.5, 1.0)]).T / steps
    knobs, best, best_error = shape.knobs / steps, shape.knobs, math.inf
    best_gap, damping, slopes = goal.aim, 1.0, None
    for step in range(num_steps):
        found = contour_shape(outer_contour(shape.raster(goal.pixels, _TRIAL_EXTENT)))
        gap = goal.aim - shape_coordinates(*found)
        stuck = slopes is not None and bool(np.abs(gap - best_gap).max() < _SAME)
        if slopes is not None and not stuck:  # Broyden: what the last move did
            moved = shape.knobs / steps - knobs
            missed = (best_gap - gap) - moved @ slopes
            slopes += np.outer(moved, missed) / max(float(moved @ moved), 1e-6)
        error = float(np.abs(goal.ranks(*found) - goal.wanted).sum() + 0.1 * np.abs(gap).sum())
        if error < best_error:
            best, best_error, best_gap, damping = shape.knobs, error, gap, 1.0
            knobs = best / steps
        else:  # a move that changed no pixel was too short, any other too long
            damping *= 4.0 if stuck else 0.5
        if best_error < _GOOD or step == num_steps - 1:
            break
        if slopes is None:
            slopes = _slopes(shape, steps)
        move = _bounded_move(
            slopes * goal.weights, best_gap * goal.weights, low - knobs, high - knobs
        )
        move *= damping * min(1.0, _LONGEST_STEP / max(float(np.abs(move).max()), 1e-9))
        shape.knobs = np.clip(knobs + move, low, high) * steps
    shape.knobs = best
    return best_error


def _bounded_move(
    slopes: np.ndarray, gap: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return the move (3 knobs) whose effect is nearest to the gap, knobs kept in their limits."""
    normal, wish = slopes @ slopes.T, slopes @ gap
    normal[_DIAGONAL] += 1e-3 + 0.01 * normal[_DIAGONAL].max()
    _, found = cv2.solve(normal, wish[:, None], flags=cv2.DECOMP_CHOLESKY)
    # Three numbers: arrays would take longer to make than to use.
    move, lowest, highest = found.ravel().tolist(), low.tolist(), high.tolist()
    matrix, wishes, free = normal.tolist(), wish.tolist(), [0, 1, 2]
    while beyond := [k for k in free if not lowest[k] <= move[k] <= highest[k]]:
        for k in beyond:
            move[k] = min(max(move[k], lowest[k]), highest[k])
        free = [k for k in free if k not in beyond]
        fixed = [k for k in range(3) if k not in free]
        left = {k: wishes[k] - sum(matrix[k][j] * move[j] for j in fixed) for k in free}
        if len(free) == 1:
            move[free[0]] = left[free[0]] / matrix[free[0]][free[0]]
        elif free:
            i, j = free
            scale = 1.0 / (matrix[i][i] * matrix[j][j] - matrix[i][j] * matrix[j][i])
            move[i] = scale * (matrix[j][j] * left[i] - matrix[i][j] * left[j])
            move[j] = scale * (matrix[i][i] * left[j] - matrix[j][i] * left[i])
    return np.array(move)


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
