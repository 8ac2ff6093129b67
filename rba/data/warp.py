"""Geometry of references: a random homography that is known exactly, and pictures warped by it.

A matrix maps points (x, y) of a picture to points of the reference; both have pixel centres at
``(i + 0.5, j + 0.5)``.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from rba.batch import PLACES
from rba.errors import InputError
from rba.geometry import project

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
    image, matrix = _shrink_before(image, matrix, side)
    return _warp(image, matrix, side, cv2.INTER_LINEAR)


def warp_mask(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Warp an HxW bool mask.

    Returns:
        side x side bool: pixels that the mask covers by at least half.
    """
    return _coverage(mask, matrix, side) >= 0.5


def warp_soft_mask(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Warp an HxW bool mask, anti-aliased; a mask too small for the grid does not vanish.

    Returns:
        side x side float32 in [0, 1], the share of each pixel that the mask covers. Where no pixel
        reaches one half, all are scaled so that the largest is 1; a mask smaller than the grid's
        samples sets the pixel that its middle falls into. All 0 if the mask is empty or leaves the
        frame.
    """
    coverage = _coverage(mask, matrix, side)
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
    """Return the centres (x, y) of a mask's pixels, float64 [N, 2]."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], axis=1) + 0.5


def place_points(size: int) -> np.ndarray:
    """Return the middles (x, y) of `PLACES` x `PLACES` squares of a picture, [G, G, 2] pixels."""
    steps = (np.arange(PLACES) + 0.5) * (size / PLACES)
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def inside_frame(points: np.ndarray, side: int) -> np.ndarray:
    """Return which [N, 2] points lie in a frame of ``side`` x ``side`` pixels, bool [N]."""
    return np.all((points >= 0.0) & (points < side), axis=1)


def _coverage(mask: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    fine = np.diag([_OVERSAMPLING, _OVERSAMPLING, 1.0]) @ matrix
    large = side * _OVERSAMPLING
    warped = warp_image(mask.astype(np.float32), fine, large)
    coverage = cv2.resize(warped, (side, side), interpolation=cv2.INTER_AREA)
    return np.clip(coverage, 0.0, 1.0)


def _shrink_before(
    image: np.ndarray, matrix: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink the picture by area where the warp would skip pixels, and adapt the matrix."""
    middle = project(np.array([[side / 2.0, side / 2.0]]), np.linalg.inv(matrix))[0]
    steps = project(middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), matrix)
    (ax, ay), (bx, by) = steps[1] - steps[0], steps[2] - steps[0]
    factor = float(np.sqrt(abs(ax * by - ay * bx)))  # result pixels a picture pixel
    height, width = image.shape[:2]
    if not 0.0 < factor < 0.75:
        return image, matrix
    small_height, small_width = max(1, round(height * factor)), max(1, round(width * factor))
    small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    return small, matrix @ np.diag([width / small_width, height / small_height, 1.0])


def _warp(image: np.ndarray, matrix: np.ndarray, side: int, interpolation: int) -> np.ndarray:
    # OpenCV counts pixel centres from 0, we count them from 0.5.
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    matrix = np.linalg.inv(shift) @ matrix @ shift
    return cv2.warpPerspective(image, matrix, (side, side), flags=interpolation)
