"""Geometry of references: a random homography that is known exactly, and pictures warped by it.

A matrix maps points (x, y) of a picture to points of the reference; both have pixel centres at
``(i + 0.5, j + 0.5)``.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from rba.batch import PLACES
from rba.errors import InputError
from rba.geometry import mask_box, project

_SHRINK_BELOW = 0.75  # where a picture becomes smaller than this, area averaging comes first
_OVERSAMPLING = 3  # soft masks are warped at this many times the reference's side, then averaged


@dataclasses.dataclass(frozen=True)
class Square:
    """A square region of a picture in pixels, as real numbers; it may reach outside the picture."""

    x: float
    y: float
    side: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarpSettings:
    """Ranges of the random homography about the middle of the reference.

    Attributes:
        rotation: Largest rotation either way, degrees.
        scale: Smallest and largest magnification.
        perspective: Largest move of a corner, share of the side (below 0.5).
        translation: Largest move of the middle along each axis, share of the side.

    Raises:
        InputError: If a range is out of order or out of bounds.
    """

    rotation: float = 0.0
    scale: Sequence[float] = (1.0, 1.0)
    perspective: float = 0.0
    translation: float = 0.0

    def __post_init__(self) -> None:
        check_range("warp.scale", self.scale, 0.05, 20.0)
        for name, high in (("rotation", 180.0), ("perspective", 0.4), ("translation", 1.0)):
            if not 0.0 <= getattr(self, name) <= high:
                raise InputError(f"warp.{name}={getattr(self, name)}; give 0 to {high:g}")

    def eased(self, difficulty: float) -> "WarpSettings":
        """Return these ranges, shrunk towards no change; 1 leaves them, 0 leaves nothing."""
        return dataclasses.replace(
            self,
            rotation=self.rotation * difficulty,
            scale=tuple(float(value) ** difficulty for value in self.scale),
            perspective=self.perspective * difficulty,
            translation=self.translation * difficulty,
        )


def check_range(name: str, value: Sequence[float], low: float, high: float) -> None:
    """Check a setting of the form ``[smallest, largest]``.

    Raises:
        InputError: If it is not two ordered numbers between ``low`` and ``high``.
    """
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise InputError(f"{name}={list(value)}; give [smallest, largest] in {low:g} to {high:g}")


def between(rng: np.random.Generator, limits: Sequence[float] | np.ndarray) -> float:
    """Draw a number between two limits, uniformly."""
    return float(rng.uniform(limits[0], limits[1]))


def square_matrix(square: Square, side: int) -> np.ndarray:
    """Return the 3x3 matrix that maps a square of a picture onto ``side`` x ``side`` pixels."""
    factor = side / square.side
    return np.array(
        [[factor, 0.0, -square.x * factor], [0.0, factor, -square.y * factor], [0.0, 0.0, 1.0]]
    )


def random_warp(settings: WarpSettings, rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a homography of the ``side`` x ``side`` reference onto itself.

    Returns:
        3x3 float64; always the same number of draws from ``rng``.
    """
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation))
    scale = np.exp(between(rng, np.log(settings.scale)))
    shift = rng.uniform(-settings.translation, settings.translation, 2)
    jitter = rng.uniform(-settings.perspective, settings.perspective, (4, 2))
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners + jitter) @ turn.T * scale + shift
    source, destination = (corners + 0.5) * side, (moved + 0.5) * side
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), destination.astype(np.float32))
    return np.asarray(matrix, np.float64)


def warp_image(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Warp a picture to ``side`` x ``side`` pixels, averaged over area where it shrinks.

    Args:
        image: HxWx3 uint8, or HxW float32.
        matrix: 3x3, picture -> result.
        side: Side of the result in pixels.

    Returns:
        The picture, 0 where nothing maps to.
    """
    factor = magnification(matrix, side)
    if 0.0 < factor < _SHRINK_BELOW:
        image, matrix = _cut(image, matrix, side, math.ceil(2.0 / factor))
        image, matrix = _shrink(image, matrix, factor)
    return _warp(image, matrix, (0, 0, side, side))


def magnification(matrix: np.ndarray, side: int) -> float:
    """Return how many pixels of the result one of the picture becomes at the result's middle.

    Args:
        matrix: 3x3, picture -> result.
        side: Side of the result in pixels.
    """
    middle = project(np.array([[side / 2.0, side / 2.0]]), np.linalg.inv(matrix))[0]
    steps = project(middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), matrix)
    (ax, ay), (bx, by) = steps[1] - steps[0], steps[2] - steps[0]
    return float(np.sqrt(abs(ax * by - ay * bx)))


def warp_mask(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Warp an HxW bool mask.

    Returns:
        side x side bool: pixels that the mask covers by at least half.
    """
    # Bytes are warped twice as fast as floats, and are fine enough for a threshold.
    return _coverage(mask.astype(np.uint8) * 255, matrix, side) >= 128


def warp_soft_mask(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Warp an HxW bool mask, anti-aliased; a mask too small for the grid does not vanish.

    Returns:
        side x side float32 in [0, 1], the share of each pixel that the mask covers. Where no pixel
        reaches one half, all are scaled so that the largest is 1; a mask smaller than the grid's
        samples sets the pixel that its middle falls into. All 0 if the mask is empty or leaves the
        frame.
    """
    coverage = _coverage(mask.astype(np.float32), matrix, side)
    peak = float(coverage.max())
    if peak >= 0.5:
        return coverage
    if peak > 0.0:
        return coverage / peak
    if not mask.any():
        return coverage
    points = project(mask_points(mask), matrix)
    inside = points[inside_frame(points, side)]
    if len(inside):
        x, y = inside[len(inside) // 2].astype(int)
        coverage[y, x] = 1.0
    return coverage


def mask_points(mask: np.ndarray) -> np.ndarray:
    """Return the centres (x, y) of a mask's pixels row by row, float64 [N, 2]."""
    if not mask.any():
        return np.empty((0, 2))
    # Several times as fast as NumPy's.
    return np.reshape(cv2.findNonZero(mask.view(np.uint8)), (-1, 2)) + 0.5


def place_points(size: int) -> np.ndarray:
    """Return the middles (x, y) of `PLACES` x `PLACES` squares of a picture, [G, G, 2] pixels."""
    steps = (np.arange(PLACES) + 0.5) * (size / PLACES)
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def inside_frame(points: np.ndarray, side: int) -> np.ndarray:
    """Return which [N, 2] points lie in a frame of ``side`` x ``side`` pixels, bool [N]."""
    return np.all((points >= 0.0) & (points < side), axis=1)


def _coverage(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of an HxW mask over each pixel of the result; made where it lands only."""
    coverage, full = np.zeros((side, side), mask.dtype), mask.max()
    if not full:
        return coverage
    box = mask_box(mask)
    corners = np.array([[x, y] for x in (box.x0, box.x1) for y in (box.y0, box.y1)], np.float64)
    x0, y0, x1, y1 = _landing(corners, matrix, side)
    if x0 >= x1 or y0 >= y1:
        return coverage
    fine = np.diag([_OVERSAMPLING, _OVERSAMPLING, 1.0]) @ matrix
    factor = magnification(fine, side * _OVERSAMPLING)
    if 0.0 < factor < _SHRINK_BELOW:
        mask, fine = _shrink(mask, fine, factor)
    frame = (x0 * _OVERSAMPLING, y0 * _OVERSAMPLING, x1 * _OVERSAMPLING, y1 * _OVERSAMPLING)
    warped = _warp(mask, fine, frame)
    part = cv2.resize(warped, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    coverage[y0:y1, x0:x1] = np.minimum(part, full)
    return coverage


def _landing(corners: np.ndarray, matrix: np.ndarray, side: int) -> tuple[int, int, int, int]:
    """Return the part of a frame of ``side`` pixels that a convex shape and its edge fall into."""
    if not _in_front(corners, matrix):
        return 0, 0, side, side
    landed = project(corners, matrix)
    x0, y0 = np.clip(np.floor(landed.min(axis=0)) - 2, 0, side).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(landed.max(axis=0)) + 2, 0, side).astype(int).tolist()
    return x0, y0, x1, y1


def _in_front(points: np.ndarray, matrix: np.ndarray) -> bool:
    """Return whether a homography keeps a shape of these corners in one piece."""
    depths = points @ matrix[2, :2] + matrix[2, 2]
    return bool((depths > 0).all() or (depths < 0).all())


def _cut(
    image: np.ndarray, matrix: np.ndarray, side: int, margin: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out what the result shows, with a margin in pixels, and adapt the matrix."""
    back = np.linalg.inv(matrix)
    corners = np.array([[0.0, 0.0], [side, 0.0], [0.0, side], [side, side]])
    if not _in_front(corners, back):
        return image, matrix
    shown, size = project(corners, back), (image.shape[1], image.shape[0])
    x0, y0 = (max(0, math.floor(value) - margin) for value in shown.min(axis=0))
    x1, y1 = (
        min(length, math.ceil(value) + margin)
        for value, length in zip(shown.max(axis=0), size, strict=True)
    )
    if x0 >= x1 or y0 >= y1:
        return image, matrix
    moved = matrix @ np.array([[1.0, 0.0, x0], [0.0, 1.0, y0], [0.0, 0.0, 1.0]])
    return image[y0:y1, x0:x1], moved


def _shrink(image: np.ndarray, matrix: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Shrink the picture by area as far as the warp would skip pixels, and adapt the matrix."""
    height, width = image.shape[:2]
    small_height, small_width = max(1, round(height * factor)), max(1, round(width * factor))
    small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    return small, matrix @ np.diag([width / small_width, height / small_height, 1.0])


def _warp(image: np.ndarray, matrix: np.ndarray, frame: tuple[int, int, int, int]) -> np.ndarray:
    """Warp a picture into the part (x0, y0, x1, y1) of the result."""
    x0, y0, x1, y1 = frame
    # OpenCV counts pixel centres from 0, we count them from 0.5.
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    there = np.array([[1.0, 0.0, -0.5 - x0], [0.0, 1.0, -0.5 - y0], [0.0, 0.0, 1.0]])
    return cv2.warpPerspective(
        image, there @ matrix @ shift, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR
    )
