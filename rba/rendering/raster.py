"""Rasterise a mesh: each pixel's surface with its exact position, normal, UV and depth."""

import dataclasses

import numpy as np

from rba.rendering.camera import Camera
from rba.rendering.mesh import Mesh

# Pixels interpolated at a time: what they need stays in the processor's cache.
_CHUNK = 16384


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raster:
    """What a camera sees of a mesh, sampled at pixel centres.

    Attributes:
        surface: HxW int16, the surface's number, -1 where nothing is.
        facing: HxW bool, true where the outer side is seen.
        depth: HxW float32, distance along the viewing axis, inf where nothing is.
        attributes: HxWx8 float32, 0 where nothing is: position, normal and uv side by side.
    """

    surface: np.ndarray
    facing: np.ndarray
    depth: np.ndarray
    attributes: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """HxWx3: the point in object axes."""
        return self.attributes[..., :3]

    @property
    def normal(self) -> np.ndarray:
        """HxWx3: the outward normal in object axes, of length about 1."""
        return self.attributes[..., 3:6]

    @property
    def uv(self) -> np.ndarray:
        """HxWx2: where on its surface's texture the point lies, in [0, 1]."""
        return self.attributes[..., 6:]

    @property
    def mask(self) -> np.ndarray:
        """HxW bool: where the object is."""
        return self.surface >= 0


def rasterise(mesh: Mesh, camera: Camera) -> Raster:
    """Rasterise by a z-buffer with perspective-correct interpolation.

    Triangles of closed meshes that face away are left out. Geometry is float64.
    """
    points, depths = camera.project(mesh.vertices)
    corners = points[mesh.triangles]
    inverse = 1.0 / depths[mesh.triangles]
    area = _doubled_area(corners)
    drawn = np.abs(area) > 1e-9 if mesh.two_sided else area > 1e-9

    shape = (camera.height, camera.width)
    nearness = np.zeros(shape)
    owner = np.full(shape, -1, np.int32)
    for index in np.flatnonzero(drawn):
        _draw(corners[index], area[index], inverse[index], int(index), nearness, owner)
    return _interpolate(mesh, corners, area, inverse, nearness, owner)


def _doubled_area(corners: np.ndarray) -> np.ndarray:
    """Twice the signed area of screen triangles [T, 3, 2]; above 0 = seen from outside."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _draw(
    corners: np.ndarray,
    area: float,
    inverse: np.ndarray,
    index: int,
    nearness: np.ndarray,
    owner: np.ndarray,
) -> None:
    """Draw one triangle into the z-buffer (``nearness`` is 1 / depth)."""
    height, width = owner.shape
    x0, y0 = np.maximum(np.floor(corners.min(axis=0) - 0.5).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0) + 0.5).astype(int), (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1)[None, :] + 0.5
    y = np.arange(y0, y1)[:, None] + 0.5
    second = _weight(x, y, corners[2], corners[0]) / area
    third = _weight(x, y, corners[0], corners[1]) / area
    first = 1.0 - second - third
    near = first * inverse[0] + second * inverse[1] + third * inverse[2]
    window = (slice(y0, y1), slice(x0, x1))
    inside = (first >= 0) & (second >= 0) & (third >= 0) & (near > nearness[window])
    nearness[window][inside] = near[inside]
    owner[window][inside] = index


def _weight(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Twice the signed area of (start, end, pixel), for all pixels of a window."""
    return (end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0])


def _interpolate(
    mesh: Mesh,
    corners: np.ndarray,
    area: np.ndarray,
    inverse: np.ndarray,
    nearness: np.ndarray,
    owner: np.ndarray,
) -> Raster:
    table = np.concatenate([mesh.vertices, mesh.normals, mesh.uvs], axis=1).astype(np.float32)
    contents = [table[mesh.triangles[:, corner]] for corner in range(3)]
    # Barycentric weights are affine in (x, y): three coefficients a triangle and corner.
    second = _affine(corners[:, 2], corners[:, 0], area)
    third = _affine(corners[:, 0], corners[:, 1], area)
    places = np.flatnonzero(owner >= 0)
    attributes = np.zeros((owner.size, table.shape[1]), np.float32)
    for start in range(0, places.size, _CHUNK):
        part = places[start : start + _CHUNK]
        index, depth = owner.ravel()[part], 1.0 / nearness.ravel()[part]
        pixel = np.stack([part % owner.shape[1] + 0.5, part // owner.shape[1] + 0.5, part * 0 + 1])
        b = (second[index].T * pixel).sum(axis=0)
        c = (third[index].T * pixel).sum(axis=0)
        values = 0.0
        for corner, share in enumerate((1.0 - b - c, b, c)):
            weight = (share * inverse[:, corner].take(index) * depth).astype(np.float32)
            values = values + contents[corner].take(index, axis=0) * weight[:, None]
        attributes[part] = values

    index = owner.ravel()[places]
    surface = np.full(owner.size, -1, np.int16)
    surface[places] = mesh.surfaces[index]
    facing = np.zeros(owner.size, bool)
    facing[places] = area[index] > 0
    with np.errstate(divide="ignore"):
        depth = (1.0 / nearness).astype(np.float32)
    return Raster(
        surface=surface.reshape(owner.shape),
        facing=facing.reshape(owner.shape),
        depth=depth,
        attributes=attributes.reshape(*owner.shape, -1),
    )


def _affine(start: np.ndarray, end: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Coefficients [T, 3] of x, y and 1 in `_weight` over the doubled area, 0 where that is 0."""
    step = end - start
    offset = step[:, 1] * start[:, 0] - step[:, 0] * start[:, 1]
    coefficients = np.stack([-step[:, 1], step[:, 0], offset], axis=1)
    return np.divide(
        coefficients, area[:, None], out=np.zeros_like(coefficients), where=area[:, None] != 0
    )
