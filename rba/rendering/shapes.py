"""Textured meshes: boxes, cylinders, cards and bent sheets, each of a few textured surfaces.

Every surface is laid out as it is seen from outside: u to the right, v downwards, both in [0, 1].
Triangles that face the viewer therefore turn clockwise on the screen (y down).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

_SHEET_CELLS = 12
_CYLINDER_SEGMENTS = 48


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A triangle mesh with textured surfaces; the farthest vertex lies at distance 1.

    Attributes:
        kind: Name of the shape.
        vertices: [V, 3] float64, x right, y down, z away from the viewer.
        normals: [V, 3] float64, outward, unit length.
        uvs: [V, 2] float64 in [0, 1].
        triangles: [T, 3] indices.
        surfaces: [T] number of the surface that a triangle belongs to.
        aspects: For each surface its width over its height.
        two_sided: True for thin things, whose surfaces are seen from behind as well.
    """

    kind: str
    vertices: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray
    surfaces: np.ndarray
    aspects: tuple[float, ...]
    two_sided: bool = False


_Patch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


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
    return _join("card", [_grid_patch(points)], two_sided=True)


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
    return _join("sheet", [_grid_patch(points)], two_sided=True)


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
    return _join("box", [_grid_patch(_face(*face)) for face in faces])


def _cylinder(rng: np.random.Generator) -> Mesh:
    radius, half = rng.uniform(0.6, 0.85), rng.uniform(0.7, 1.0)
    angles = np.linspace(-np.pi, np.pi, _CYLINDER_SEGMENTS + 1)
    ring = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=1)
    up = np.array([0.0, -half, 0.0])
    side = np.stack([ring * radius + up, ring * radius - up])
    points, _, uvs, triangles, _ = _grid_patch(side)
    side_patch = (points, np.concatenate([ring, ring]), uvs, triangles, np.pi * radius / half)
    top = _disc_patch(up, np.array([radius, 0, 0]), np.array([0, 0, -radius]))
    bottom = _disc_patch(-up, np.array([radius, 0, 0]), np.array([0, 0, radius]))
    return _join("cylinder", [side_patch, top, bottom])


SHAPES: dict[str, Callable[[np.random.Generator], Mesh]] = {
    "box": _box,
    "cylinder": _cylinder,
    "card": _card,
    "sheet": _sheet,
}


def _face(centre: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Corner points [2, 2, 3] of a rectangle as seen from outside."""
    return np.array(
        [
            [centre - right - down, centre + right - down],
            [centre - right + down, centre + right + down],
        ]
    )


def _grid_patch(points: np.ndarray) -> _Patch:
    """A surface from points [rows, columns, 3] as seen from outside, smooth normals."""
    rows, columns = points.shape[:2]
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    along, across = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normals = _unit(np.cross(across, along))
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    width = np.linalg.norm(along, axis=-1).mean() * (columns - 1)
    height = np.linalg.norm(across, axis=-1).mean() * (rows - 1)
    flat = points.reshape(-1, 3), normals.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2)
    return (*flat, triangles.reshape(-1, 3), float(width / height))


def _disc_patch(centre: np.ndarray, right: np.ndarray, down: np.ndarray) -> _Patch:
    angles = np.arange(_CYLINDER_SEGMENTS) * (2 * np.pi / _CYLINDER_SEGMENTS) + np.pi
    offsets = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    offsets = np.concatenate([[[0.0, 0.0]], offsets])
    points = centre + offsets[:, :1] * right + offsets[:, 1:] * down
    normals = np.broadcast_to(_unit(np.cross(down, right)), points.shape)
    first = 1 + np.arange(_CYLINDER_SEGMENTS)
    second = 1 + (np.arange(_CYLINDER_SEGMENTS) + 1) % _CYLINDER_SEGMENTS
    triangles = np.stack([np.zeros_like(first), first, second], axis=1)
    return points, normals, 0.5 + 0.5 * offsets, triangles, 1.0


def _join(kind: str, patches: list[_Patch], *, two_sided: bool = False) -> Mesh:
    starts = np.cumsum([0] + [len(patch[0]) for patch in patches[:-1]])
    vertices = np.concatenate([patch[0] for patch in patches])
    vertices = vertices - (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    triangles = [patch[3] + start for patch, start in zip(patches, starts, strict=True)]
    return Mesh(
        kind=kind,
        vertices=vertices / np.linalg.norm(vertices, axis=1).max(),
        normals=np.concatenate([patch[1] for patch in patches]),
        uvs=np.concatenate([patch[2] for patch in patches]),
        triangles=np.concatenate(triangles),
        surfaces=np.repeat(np.arange(len(patches)), [len(t) for t in triangles]),
        aspects=tuple(patch[4] for patch in patches),
        two_sided=two_sided,
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
