"""Solids that training does not show by default: prisms, frustums and domes."""

import numpy as np

from rba.rendering.mesh import SEGMENTS, Mesh, Patch, disc_patch, fan_patch, grid_patch, join, unit

_DOME_SEGMENTS = 40
_DOME_RINGS = 7


def make_prism(rng: np.random.Generator) -> Mesh:
    """An upright prism of three or six flat sides, each a surface of its own, and two caps."""
    sides = 3 if rng.random() < 0.5 else 6
    radius, half = rng.uniform(0.75, 1.0), rng.uniform(0.65, 0.95)
    angles = np.linspace(-np.pi, np.pi, sides + 1)
    ring = radius * np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=1)
    up = np.array([0.0, -half, 0.0])
    walls = [
        grid_patch(np.stack([ring[k : k + 2] + up, ring[k : k + 2] - up])) for k in range(sides)
    ]
    corners = np.stack([np.sin(angles[:-1]), -np.cos(angles[:-1])], axis=1)
    right, away = np.array([radius, 0.0, 0.0]), np.array([0.0, 0.0, radius])
    # Seen from above the ring's corners turn the other way than from below.
    top = fan_patch(up, right, -away, corners[::-1] * [1.0, -1.0])
    return join("prism", [*walls, top, fan_patch(-up, right, away, corners)])


def make_frustum(rng: np.random.Generator) -> Mesh:
    """A cup or a lampshade: a round wall that widens towards one end, closed by two caps."""
    wide, narrow = rng.uniform(0.75, 0.95), rng.uniform(0.42, 0.62)
    upper, lower = (wide, narrow) if rng.random() < 0.5 else (narrow, wide)
    half = rng.uniform(0.7, 0.95)
    up = np.array([0.0, -half, 0.0])
    wall = _wall(upper, lower, half)
    top = disc_patch(up, np.array([upper, 0, 0]), np.array([0, 0, -upper]))
    bottom = disc_patch(-up, np.array([lower, 0, 0]), np.array([0, 0, lower]))
    return join("frustum", [wall, top, bottom])


def _wall(upper: float, lower: float, half: float) -> Patch:
    """The round wall between two radii, from y = -half to half."""
    angles = np.linspace(-np.pi, np.pi, SEGMENTS + 1)
    ring = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=1)
    up = np.array([0.0, -half, 0.0])
    points, _, uvs, triangles, _ = grid_patch(np.stack([ring * upper + up, ring * lower - up]))
    # The gradient of (distance from the axis - radius at y).
    normals = unit(ring - np.array([0.0, (lower - upper) / (2 * half), 0.0]))
    slant = float(np.hypot(2 * half, lower - upper))
    aspect = np.pi * (upper + lower) / slant
    return points, np.concatenate([normals, normals]), uvs, triangles, aspect


def make_dome(rng: np.random.Generator) -> Mesh:
    """A cap of a sphere, up to half of it, its middle towards the viewer, and the flat back.

    The texture lies on it as a round cloth: distance from the middle along the dome is distance
    from the texture's centre, so nothing runs together in a pole.
    """
    reach = np.deg2rad(rng.uniform(62.0, 90.0))
    squash = rng.uniform(0.85, 1.0)
    angles = np.arange(_DOME_SEGMENTS) * (2 * np.pi / _DOME_SEGMENTS) + np.pi
    spokes = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    shares = np.arange(1, _DOME_RINGS + 1) / _DOME_RINGS
    offsets = np.concatenate([[[0.0, 0.0]], (shares[:, None, None] * spokes).reshape(-1, 2)])
    away = reach * np.concatenate([[0.0], np.repeat(shares, _DOME_SEGMENTS)])
    around = np.concatenate([[[0.0, 0.0]], np.tile(spokes, (_DOME_RINGS, 1))])
    sphere = np.concatenate([np.sin(away)[:, None] * around, -np.cos(away)[:, None]], axis=1)
    depth = np.array([1.0, 1.0, squash])
    front = (sphere * depth, unit(sphere / depth), 0.5 + 0.5 * offsets, _web(), 1.0)
    centre, radius = np.array([0.0, 0.0, -np.cos(reach) * squash]), float(np.sin(reach))
    right, down = np.array([-radius, 0.0, 0.0]), np.array([0.0, radius, 0.0])
    return join("dome", [front, disc_patch(centre, right, down, _DOME_SEGMENTS)])


def _web() -> np.ndarray:
    """Triangles [T, 3] between a middle vertex 0 and rings of vertices around it, clockwise."""
    step = np.arange(_DOME_SEGMENTS)
    following = (step + 1) % _DOME_SEGMENTS
    triangles = [np.stack([np.zeros_like(step), 1 + step, 1 + following], axis=1)]
    for ring in range(_DOME_RINGS - 1):
        inner, outer = 1 + ring * _DOME_SEGMENTS, 1 + (ring + 1) * _DOME_SEGMENTS
        triangles += [
            np.stack([inner + step, outer + step, outer + following], axis=1),
            np.stack([inner + step, outer + following, inner + following], axis=1),
        ]
    return np.concatenate(triangles)
