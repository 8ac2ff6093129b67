"""The exact correspondence between two views of one object, known from its geometry.

A correspondence map over view A is HxWx2 float32: for the pixel whose centre is (x + 0.5, y + 0.5)
the position (u, v) of the same surface point in view B, in pixels of B (centres at +0.5 too), NaN
where the point is hidden in B, outside of it, or no object.
"""

import numpy as np

from rba.rendering.camera import Camera
from rba.rendering.raster import Raster

# Share of the object's radius by which depths may differ beyond what the surface's slope explains.
_DEPTH_TOLERANCE = 0.01


def correspondence(first: Raster, second: Raster, camera: Camera) -> np.ndarray:
    """Map each pixel of a view to the pixel position of its surface point in another view.

    Args:
        first: What view A shows.
        second: What view B shows, at the size of ``camera``.
        camera: Camera of view B.

    Returns:
        HxWx2 float32 over view A, NaN = no match (see the module).
    """
    height, width = second.surface.shape
    result = np.full((*first.surface.shape, 2), np.nan, np.float32)
    rows, columns = np.nonzero(first.mask)
    points, depths = camera.project(first.position[rows, columns].astype(np.float64))
    x, y = np.floor(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    rows, columns, points, depths = rows[inside], columns[inside], points[inside], depths[inside]
    x, y = x[inside], y[inside]
    same = second.surface[y, x] == first.surface[rows, columns]
    same &= second.facing[y, x] == first.facing[rows, columns]
    near = np.abs(second.depth[y, x] - depths) <= _DEPTH_TOLERANCE + _slope(second)[y, x]
    kept = same & near
    result[rows[kept], columns[kept]] = points[kept]
    return result


def _slope(raster: Raster) -> np.ndarray:
    """HxW: how much the depth changes within a pixel, over neighbours on the same surface."""
    slope = np.zeros(raster.depth.shape, np.float32)
    for axis in (0, 1):
        low = [slice(None), slice(None)]
        high = [slice(None), slice(None)]
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        before, after = tuple(low), tuple(high)
        joined = (raster.surface[before] == raster.surface[after]) & raster.mask[before]
        joined &= raster.facing[before] == raster.facing[after]
        step = np.zeros(joined.shape, np.float32)
        step[joined] = np.abs(raster.depth[before][joined] - raster.depth[after][joined])
        step[step > _LARGEST_STEP] = 0.0
        slope[before] = np.maximum(slope[before], step)
        slope[after] = np.maximum(slope[after], step)
    return slope


# A larger step between neighbours is a fold that hides something, not a slope.
_LARGEST_STEP = 0.08
