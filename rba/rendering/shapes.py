"""Kinds of objects: boxes, cylinders, cards, bent sheets, and the solids kept out of training."""

from collections.abc import Callable

import numpy as np

from rba.rendering.mesh import SEGMENTS, Mesh, disc_patch, grid_patch, join, rectangle
from rba.rendering.solids import make_dome, make_frustum, make_prism

_SHEET_CELLS = 12


def make_mesh(kind: str, rng: np.random.Generator) -> Mesh:
    """Draw a shape of a kind in `SHAPES` with random proportions.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in SHAPES:
        raise ValueError(f"unknown shape {kind!r}; known are {sorted(SHAPES)}")
    return SHAPES[kind](rng)


def make_card(aspect: float) -> Mesh:
    """A flat card, width over height ``aspect``, its face towards the viewer."""
    x, y = max(aspect, 1e-6), 1.0
    points = np.array([[[-x, -y, 0], [x, -y, 0]], [[-x, y, 0], [x, y, 0]]], np.float64)
    return join("card", [grid_patch(points)], two_sided=True)


def _card(rng: np.random.Generator) -> Mesh:
    return make_card(float(np.exp(rng.uniform(np.log(0.72), np.log(1.4)))))


def _sheet(rng: np.random.Generator) -> Mesh:
    """A cloth-like sheet: a plane bent by a few waves and a curl, mild enough not to hide much."""
    axis = np.linspace(-1.0, 1.0, _SHEET_CELLS + 1)
    aspect = float(rng.uniform(0.8, 1.25))
    x, y = np.meshgrid(axis * aspect, axis)
    z = rng.uniform(-0.22, 0.22) * x**2 + rng.uniform(-0.22, 0.22) * y**2
    for _ in range(3):
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        wave = rng.uniform(1.5, 4.5) * (np.cos(angle) * x + np.sin(angle) * y)
        z += rng.uniform(0.03, 0.10) * np.sin(wave + phase)
    sag_x = 0.06 * rng.standard_normal() * np.sin(2.0 * y)
    sag_y = 0.06 * rng.standard_normal() * np.sin(2.0 * x)
    points = np.stack([x + sag_x, y + sag_y, z], axis=-1)
    return join("sheet", [grid_patch(points)], two_sided=True)


def _box(rng: np.random.Generator) -> Mesh:
    x, y, z = rng.uniform(0.65, 1.0, 3)
    axes = np.diag([x, y, z])
    right, down, away = axes
    faces = (
        (-away, right, down),
        (right, away, down),
        (away, -right, down),
        (-right, -away, down),
        (-down, right, -away),
        (down, right, away),
    )
    return join("box", [grid_patch(rectangle(*face)) for face in faces])


def _cylinder(rng: np.random.Generator) -> Mesh:
    radius, half = rng.uniform(0.6, 0.85), rng.uniform(0.7, 1.0)
    angles = np.linspace(-np.pi, np.pi, SEGMENTS + 1)
    ring = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=1)
    up = np.array([0.0, -half, 0.0])
    side = np.stack([ring * radius + up, ring * radius - up])
    points, _, uvs, triangles, _ = grid_patch(side)
    side_patch = (points, np.concatenate([ring, ring]), uvs, triangles, np.pi * radius / half)
    top = disc_patch(up, np.array([radius, 0, 0]), np.array([0, 0, -radius]))
    bottom = disc_patch(-up, np.array([radius, 0, 0]), np.array([0, 0, radius]))
    return join("cylinder", [side_patch, top, bottom])


SHAPES: dict[str, Callable[[np.random.Generator], Mesh]] = {
    "box": _box,
    "cylinder": _cylinder,
    "card": _card,
    "sheet": _sheet,
    "prism": make_prism,
    "frustum": make_frustum,
    "dome": make_dome,
}
