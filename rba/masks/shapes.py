"""Shape families as small score fields: above 0 inside, below 0 outside, in units of cells.

A field is `FIELD_SIDE` cells square; the generator enlarges it to the size that the drawn area asks
for and cuts it at the level that gives that area, so families only decide the form.
"""

import cv2
import numpy as np

FIELD_SIDE = 96
_CENTRE = (FIELD_SIDE - 1) / 2
_SUBPIXEL_BITS = 4


def draw_field(
    family: str, elongation: float, roughness: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a shape of a family.

    Args:
        family: One of `rba.masks.profile.FAMILIES`.
        elongation: Short over long side, in (0, 1].
        roughness: Displacement of the edge in shares of the field's side.
        rng: Source of all randomness.

    Returns:
        FIELD_SIDE x FIELD_SIDE float32, above 0 inside; the outermost cells lie below 0.
    """
    angle = rng.uniform(0.0, np.pi)
    frame = _frame(elongation, angle)
    drawers = {"polygon": _polygon, "stroke": _stroke, "fragment": _fragments}
    if family == "noise":
        score = _noise_islands(frame, rng)
    else:
        canvas = np.zeros((FIELD_SIDE, FIELD_SIDE), np.uint8)
        drawers[family](canvas, frame, rng)
        score = _signed_distance(canvas)
    score += roughness * FIELD_SIDE * smooth_noise(rng, (9, 18), FIELD_SIDE)
    return _close_rim(score)


def smooth_noise(rng: np.random.Generator, grids: tuple[int, ...], side: int) -> np.ndarray:
    """Sum enlarged grids of white noise, finer ones weaker, into side x side float32."""
    total = np.zeros((side, side), np.float32)
    weight = 1.0
    for cells in grids:
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        total += weight * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        weight *= 0.6
    return total


def _frame(elongation: float, angle: float) -> np.ndarray:
    """2x2 matrix from the unit disc to an ellipse in cells, long axis turned by ``angle``."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    return turn @ np.diag([1.0, elongation]) * (0.40 * FIELD_SIDE)


def _cells(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Unit-disc points [N, 2] to fixed-point cells for OpenCV's drawing functions."""
    cells = points @ frame.T + _CENTRE
    return np.rint(cells * 2**_SUBPIXEL_BITS).astype(np.int32)


def _fill(canvas: np.ndarray, points: np.ndarray, frame: np.ndarray) -> None:
    cv2.fillPoly(canvas, [_cells(points, frame)], 1, cv2.LINE_8, _SUBPIXEL_BITS)


def _ring(rng: np.random.Generator, corners: int, spread: float) -> np.ndarray:
    """A closed outline of ``corners`` points around the origin, radii in [1 - spread, 1]."""
    angles = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * np.pi / corners)
    radii = 1.0 - spread * rng.random(corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def _rounded(points: np.ndarray, rounds: int) -> np.ndarray:
    """Cut the corners of a closed outline ``rounds`` times (Chaikin)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack(
            [0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1
        ).reshape(-1, 2)
    return points


def _polygon(canvas: np.ndarray, frame: np.ndarray, rng: np.random.Generator) -> None:
    outline = _ring(rng, int(rng.integers(5, 13)), rng.uniform(0.15, 0.7))
    _fill(canvas, _rounded(outline, int(rng.integers(0, 4))), frame)


def _stroke(canvas: np.ndarray, frame: np.ndarray, rng: np.random.Generator) -> None:
    """One to three strokes: a walk with slowly turning direction, a disc at each step."""
    for _ in range(int(rng.integers(1, 4))):
        steps = 28
        turns = np.cumsum(rng.normal(0.0, 0.28, steps)) + rng.uniform(0, 2 * np.pi)
        path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
        path -= (path.max(axis=0) + path.min(axis=0)) / 2
        path *= rng.uniform(0.6, 0.95) / max(float(np.abs(path).max()), 1e-6)
        path += rng.uniform(-0.15, 0.15, 2)
        width = rng.uniform(0.04, 0.16) * FIELD_SIDE * 0.40
        widths = width * (1.0 + 0.35 * np.sin(np.linspace(0, rng.uniform(2, 9), steps)))
        cells = _cells(path, frame)
        for start, end, thickness in zip(cells[:-1], cells[1:], widths, strict=False):
            thick = max(round(2 * float(thickness)), 1)
            ends = (start.tolist(), end.tolist())
            cv2.line(canvas, *ends, 1, thick, cv2.LINE_8, _SUBPIXEL_BITS)


def _fragments(canvas: np.ndarray, frame: np.ndarray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 10))):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * 0.8
        centre = radius * np.array([np.cos(angle), np.sin(angle)])
        outline = _ring(rng, int(rng.integers(3, 9)), 0.6) * rng.uniform(0.08, 0.34)
        _fill(canvas, _rounded(outline, int(rng.integers(0, 3))) + centre, frame)


def _noise_islands(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise minus a bowl, as ragged islands; scaled so that one unit is about one cell."""
    inverse = np.linalg.inv(frame)
    axis = np.arange(FIELD_SIDE, dtype=np.float32) - _CENTRE
    x, y = axis[None, :], axis[:, None]
    radius = (inverse[0, 0] * x + inverse[0, 1] * y) ** 2
    radius = radius + (inverse[1, 0] * x + inverse[1, 1] * y) ** 2
    base = int(rng.integers(5, 10))
    noise = smooth_noise(rng, (base, 2 * base), FIELD_SIDE)
    return ((noise + 0.9 - 2.0 * radius) * (FIELD_SIDE / 12.0)).astype(np.float32)


def _signed_distance(canvas: np.ndarray) -> np.ndarray:
    inside = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_3)
    outside = cv2.distanceTransform(1 - canvas, cv2.DIST_L2, cv2.DIST_MASK_3)
    return inside - outside


def _close_rim(score: np.ndarray) -> np.ndarray:
    """Pull the outer cells below 0, ever more outwards: no shape is cut flat by its own field."""
    axis = np.arange(FIELD_SIDE, dtype=np.float32)
    edge = np.minimum(axis, FIELD_SIDE - 1 - axis)
    distance = np.minimum(edge[None, :], edge[:, None])
    near = np.maximum(14.0 - distance, 0.0)
    return np.minimum(score - 0.15 * near**2, distance - 1.5).astype(np.float32)
