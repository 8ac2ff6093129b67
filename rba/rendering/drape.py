"""Cloth that is worn in one view and lies flat in the other: one print, two shapes.

Both shapes are one grid of the same cells over the same texture, so a point of the print is known
on either exactly.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from rba.rendering.mesh import Mesh, grid_patch, join
from rba.rendering.raster import Raster

_CELLS = 24  # along each side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drape:
    """One piece of cloth in two shapes.

    Attributes:
        worn: Bent.
        flat: Laid out, towards the viewer.
    """

    worn: Mesh
    flat: Mesh


def make_drape(kind: str, rng: np.random.Generator) -> Drape:
    """Draw a piece of cloth of a kind in `DRAPES`.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in DRAPES:
        raise ValueError(f"unknown cloth {kind!r}; known are {sorted(DRAPES)}")
    flat, worn = DRAPES[kind](rng)
    return Drape(worn=_mesh(kind, worn), flat=_mesh(kind, flat))


def on_other_shape(raster: Raster, other: Mesh) -> Raster:
    """Return what a view shows with the positions that its points have on the other shape.

    Args:
        raster: A view of one shape of a `Drape`.
        other: The other shape.
    """
    attributes = raster.attributes.copy()
    attributes[..., :3][raster.mask] = _position_at(other, raster.uv[raster.mask])
    return dataclasses.replace(raster, attributes=attributes)


def _position_at(mesh: Mesh, uv: np.ndarray) -> np.ndarray:
    """Points [N, 3] of a grid's triangles at texture positions [N, 2]."""
    grid = mesh.vertices.reshape(_CELLS + 1, _CELLS + 1, 3)
    cell = np.clip((uv * _CELLS).astype(int), 0, _CELLS - 1)
    s, t = np.moveaxis(uv.astype(np.float64) * _CELLS - cell, -1, 0)[..., None]
    column, row = cell.T
    a, b = grid[row, column], grid[row, column + 1]
    c, d = grid[row + 1, column + 1], grid[row + 1, column]
    # `grid_patch` cuts each cell from a to c.
    return np.where(s >= t, a + s * (b - a) + t * (c - b), a + t * (d - a) + s * (c - d))


def _mesh(kind: str, points: np.ndarray) -> Mesh:
    return join(kind, [grid_patch(points)], two_sided=True)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """u to the right and v downwards, each from 0 to 1: two grids."""
    axis = np.linspace(0.0, 1.0, _CELLS + 1)
    u, v = np.meshgrid(axis, axis)
    return u, v


def _cloth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle, bent by a curl and a few folds."""
    u, v = _grid()
    x, y = (2 * u - 1) * float(rng.uniform(0.8, 1.2)), 2 * v - 1
    z = rng.uniform(-0.3, 0.3) * x**2 + rng.uniform(-0.25, 0.25) * y**2
    for _ in range(3):
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        wave = rng.uniform(2.0, 5.0) * (np.cos(angle) * x + np.sin(angle) * y)
        z += rng.uniform(0.04, 0.11) * np.sin(wave + phase)
    sag_x = 0.08 * rng.standard_normal() * np.sin(2.0 * y)
    sag_y = 0.08 * rng.standard_normal() * np.sin(2.0 * x)
    flat = np.stack([x, y, np.zeros_like(x)], axis=-1)
    return flat, np.stack([x + sag_x, y + sag_y, z], axis=-1)


def _garment(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A sleeveless shirt with a neckline, flat, and around a body with folds towards the hem."""
    u, v = _grid()
    depth, half = rng.uniform(0.22, 0.4), rng.uniform(0.5, 0.62)
    heights = (0.0, 0.12, 0.34, 0.62, 1.0)
    widths = (0.74, 0.7, 1.0, rng.uniform(0.84, 0.95), rng.uniform(0.98, 1.2))
    x = (2 * u - 1) * half * np.interp(v, heights, widths)
    top = -1.0 + depth * np.exp(-(((u - 0.5) / 0.2) ** 2)) + 0.06 * np.abs(2 * u - 1)
    y = top + v * (1.0 - top)
    flat = np.stack([x, y, np.zeros_like(x)], axis=-1)

    radius = half * rng.uniform(0.95, 1.25)
    bend = x / radius
    sway = rng.uniform(-0.14, 0.14) * np.sin(1.6 * y + rng.uniform(-0.5, 0.5))
    folds = 0.02 + 0.05 * v
    z = -radius * rng.uniform(0.55, 0.8) * np.cos(bend) - 0.07 * np.exp(-(((v - 0.35) / 0.2) ** 2))
    for _ in range(2):
        slope, phase = rng.uniform(-1.5, 1.5), rng.uniform(0, 2 * np.pi)
        z += (
            folds * rng.uniform(0.4, 1.0) * np.sin(rng.uniform(6, 11) * (x + slope * y / 4) + phase)
        )
    return flat, np.stack([radius * np.sin(bend) + sway, y, z], axis=-1)


# ``cloth`` bends much as the sheets of training do; ``garment`` is a shape of its own.
DRAPES: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "cloth": _cloth,
    "garment": _garment,
}
