"""Two poses of an object that share enough of its surface."""

import dataclasses

import numpy as np

from rba.rendering.camera import Camera, fit_camera, turn
from rba.rendering.correspondence import correspondence
from rba.rendering.mesh import Mesh
from rba.rendering.raster import Raster, rasterise

_ATTEMPTS = 6
_ANYWHERE = (0.2, 0.8)

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseRanges:
    """What two poses are drawn from.

    Attributes:
        rotation_degrees: How far the object turns between the views.
        roll_degrees: Largest turn of each view about the viewing axis.
        fills: For each view the longest side of the object's box over the image's side.
        heights: For each view where in the free room the box lies, 0 = at the top, 1 = at the
            bottom.
        smallest_overlap: Poses are drawn again until this share of each view's object pixels is
            seen in the other, or six attempts have run out (the best is kept).
    """

    rotation_degrees: Range
    roll_degrees: float
    fills: tuple[Range, Range]
    heights: tuple[Range, Range] = (_ANYWHERE, _ANYWHERE)
    smallest_overlap: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poses:
    """Two views of one mesh: cameras, what they see, and each view's correspondence to the other.

    Attributes:
        cameras: Of the views.
        rasters: At the cameras' sizes.
        maps: HxWx2 float32 over each view (`rba.rendering.correspondence`).
    """

    cameras: list[Camera]
    rasters: list[Raster]
    maps: list[np.ndarray]

    @property
    def overlap(self) -> float:
        """The smaller share of a view's object pixels that the other view shows as well."""
        return min(_matched_share(m, r) for m, r in zip(self.maps, self.rasters, strict=True))


def draw_poses(mesh: Mesh, rng: np.random.Generator, size: int, ranges: PoseRanges) -> Poses:
    """Draw two poses until enough of each view is seen in the other; keep the best.

    Args:
        mesh: The object.
        rng: Source of all randomness.
        size: Side of both views in pixels.
        ranges: What to draw from.
    """
    best: Poses | None = None
    for _ in range(_ATTEMPTS):
        base = _base_rotation(mesh.kind, rng)
        angle = rng.uniform(*ranges.rotation_degrees)
        axis = np.array([rng.normal(0, 0.6), rng.choice([-1.0, 1.0]), rng.normal(0, 0.35)])
        between = turn(axis, angle / 2)
        cameras = [
            draw_camera(mesh, rotation @ base, rng, size, ranges, view)
            for view, rotation in enumerate((between.T, between))
        ]
        rasters = [rasterise(mesh, camera) for camera in cameras]
        maps = [
            correspondence(rasters[0], rasters[1], cameras[1]),
            correspondence(rasters[1], rasters[0], cameras[0]),
        ]
        poses = Poses(cameras=cameras, rasters=rasters, maps=maps)
        if best is None or poses.overlap > best.overlap:
            best = poses
        if poses.overlap >= ranges.smallest_overlap:
            break
    assert best is not None
    return best


def draw_camera(
    mesh: Mesh,
    rotation: np.ndarray,
    rng: np.random.Generator,
    size: int,
    ranges: PoseRanges,
    view: int,
) -> Camera:
    """Draw roll, distance, size and place of one view (0 or 1) of a rotated object."""
    roll = turn(np.array([0.0, 0.0, 1.0]), rng.uniform(-1, 1) * ranges.roll_degrees)
    return fit_camera(
        mesh.vertices,
        roll @ rotation,
        float(rng.uniform(3.6, 6.0)),
        size,
        fill=float(rng.uniform(*ranges.fills[view])),
        shift=(float(rng.uniform(*_ANYWHERE)), float(rng.uniform(*ranges.heights[view]))),
    )


def _base_rotation(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A pose that shows a shape well: boxes by a corner, what has one good side from the front."""
    if kind == "box":
        yaw, pitch = rng.uniform(22, 50) * rng.choice([-1.0, 1.0]), rng.uniform(12, 34)
    elif kind in ("cylinder", "frustum"):
        yaw, pitch = rng.uniform(-180, 180), rng.uniform(5, 34)
    elif kind == "prism":
        yaw, pitch = rng.uniform(-180, 180), rng.uniform(14, 36)
    elif kind == "dome":
        yaw, pitch = rng.uniform(-34, 34), rng.uniform(-30, 30)
    else:
        yaw, pitch = rng.uniform(-22, 22), rng.uniform(-18, 18)
    return turn(np.array([1.0, 0.0, 0.0]), pitch) @ turn(np.array([0.0, 1.0, 0.0]), yaw)


def _matched_share(map_: np.ndarray, raster: Raster) -> float:
    return float(np.isfinite(map_[..., 0]).sum() / max(int(raster.mask.sum()), 1))
