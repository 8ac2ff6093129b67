"""Rasterise a mesh: each pixel's surface with its exact position, normal, UV and depth."""

import dataclasses

import numpy as np

from rba.rendering.camera import Camera
from rba.rendering.shapes import Mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raster:
    """What a camera sees of a mesh, sampled at pixel centres.

    Attributes:
        surface: HxW int16, the surface's number, -1 where nothing is.
        facing: HxW bool, true where the outer side is seen.
        depth: HxW float32, distance along the viewing axis, inf where nothing is.
        position: HxWx3 float32, point in object axes, 0 where nothing is.
        normal: HxWx3 float32, outward normal in object axes, length about 1, 0 where nothing is.
        uv: HxWx2 float32 in [0, 1], 0 where nothing is.
    """

    surface: np.ndarray
    facing: np.ndarray
    depth: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    uv: np.ndarray

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
    places = np.flatnonzero(owner >= 0)
    rows, columns = np.divmod(places, owner.shape[1])
    index, near = owner.ravel()[places], nearness.ravel()[places]
    x, y = columns + 0.5, rows + 0.5
    # Barycentric weights are affine in (x, y): three coefficients a triangle and corner.
    second = _affine(corners[:, 2], corners[:, 0], area)[index]
    third = _affine(corners[:, 0], corners[:, 1], area)[index]
    shares = [second[:, 0] * x + second[:, 1] * y + second[:, 2]]
    shares.append(third[:, 0] * x + third[:, 1] * y + third[:, 2])
    shares.insert(0, 1.0 - shares[0] - shares[1])
    table = np.concatenate([mesh.vertices, mesh.normals, mesh.uvs], axis=1).astype(np.float32)
    depth = 1.0 / near
    values = np.zeros((places.size, table.shape[1]), np.float32)
    for corner, share in enumerate(shares):
        weight = share * inverse[:, corner].take(index) * depth
        content = table[mesh.triangles[:, corner]].take(index, axis=0)
        content *= weight.astype(np.float32)[:, None]
        values += content

    def spread(content: np.ndarray, fill: float, dtype: type) -> np.ndarray:
        image = np.full((owner.size, *content.shape[1:]), fill, dtype)
        image[places] = content
        return image.reshape(*owner.shape, *content.shape[1:])

    return Raster(
        surface=spread(mesh.surfaces[index], -1, np.int16),
        facing=spread(area[index] > 0, 0, np.bool_),
        depth=spread(depth, np.inf, np.float32),
        position=spread(values[:, :3], 0, np.float32),
        normal=spread(values[:, 3:6], 0, np.float32),
        uv=spread(values[:, 6:], 0, np.float32),
    )


def _affine(start: np.ndarray, end: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Coefficients [T, 3] of x, y and 1 in `_weight` over the doubled area, 0 where that is 0."""
    step = end - start
    offset = step[:, 1] * start[:, 0] - step[:, 0] * start[:, 1]
    coefficients = np.stack([-step[:, 1], step[:, 0], offset], axis=1)
    return np.divide(
        coefficients, area[:, None], out=np.zeros_like(coefficients), where=area[:, None] != 0
    )
