"""A pinhole camera around an object at the origin: x right, y down, z away from the viewer."""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """Pose and lens of one view.

    Attributes:
        rotation: 3x3, from object to camera axes.
        distance: From the camera to the object's origin, in object units.
        focal: Focal length in pixels.
        centre: Principal point (x, y) in pixels.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    rotation: np.ndarray
    distance: float
    focal: float
    centre: tuple[float, float]
    width: int
    height: int

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Object points [..., 3] in camera axes, camera at the origin."""
        return points @ self.rotation.T + np.array([0.0, 0.0, self.distance])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project object points [..., 3].

        Returns:
            Pixel positions [..., 2] (a pixel's centre is at +0.5) and depths [...], above 0.
        """
        seen = self.to_camera(points)
        depth = seen[..., 2]
        return seen[..., :2] * (self.focal / depth[..., None]) + np.asarray(self.centre), depth

    def enlarged(self, factor: int) -> "Camera":
        """Return the same view on a grid of ``factor`` times as many pixels along each axis."""
        return dataclasses.replace(
            self,
            focal=self.focal * factor,
            centre=(self.centre[0] * factor, self.centre[1] * factor),
            width=self.width * factor,
            height=self.height * factor,
        )


def turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    """3x3 rotation by an angle about an axis (any length but 0)."""
    unit = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    return np.asarray(cv2.Rodrigues(unit * np.deg2rad(degrees))[0])


def fit_camera(
    vertices: np.ndarray,
    rotation: np.ndarray,
    distance: float,
    size: int,
    *,
    fill: float,
    shift: tuple[float, float] = (0.5, 0.5),
) -> Camera:
    """Choose focal length and principal point so that an object fills a share of a square image.

    Args:
        vertices: [V, 3] object points.
        rotation: 3x3, from object to camera axes.
        distance: From the camera to the origin; above every vertex's length.
        size: Side of the image in pixels.
        fill: Longest side of the object's box over the image's side, in (0, 1] to be all visible.
        shift: Where in the free room the box lies, each in [0, 1]; 0.5 is the middle.
    """
    camera = Camera(
        rotation=rotation, distance=distance, focal=1.0, centre=(0.0, 0.0), width=size, height=size
    )
    points, _ = camera.project(vertices)
    low, high = points.min(axis=0), points.max(axis=0)
    focal = fill * size / float((high - low).max())
    corner = (size - focal * (high - low)) * np.asarray(shift)
    x, y = corner - focal * low
    return dataclasses.replace(camera, focal=focal, centre=(float(x), float(y)))
