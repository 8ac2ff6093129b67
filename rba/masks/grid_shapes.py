"""Small discs, ellipses and rectangles just as drawing programs put them on the pixel grid.

Of such small shapes there are few, and a population of them has few values of each statistic. What
comes near a value is not it: where a group holds such values, its shapes are taken from here.
"""

import dataclasses
import functools
import itertools

import cv2
import numpy as np

from rba.masks.catalogue import ShapeTarget
from rba.masks.groups import MaskGroup
from rba.masks.statistics import contour_shape, outer_contour

_LARGEST_RADIUS = 24  # pixels
_LARGEST_SIDE = 32
_LARGEST_AXIS, _ANGLES = 16, range(0, 180, 15)  # of ellipses; degrees
_LEAST_SHARE = 0.1  # of a group that must have a shape's values, summed over three statistics
_LARGEST_ERROR = 0.6  # difference in rank, summed over three statistics
_MADE_UP = 0.4  # of its wanted area, at most
_SMALLEST_IMAGE = 2 * _LARGEST_RADIUS + 1  # pixels a side
_AREA_WEIGHT = 0.1  # of a difference in the logarithm of area, beside differences in rank


@dataclasses.dataclass(frozen=True)
class GridShapes:
    """All shapes.

    Attributes:
        rasters: Each in its box, HxW uint8 0/1.
        areas: Pixels of each.
        values: [N, 3] compactness, solidity, elongation.
    """

    rasters: tuple[np.ndarray, ...]
    areas: np.ndarray
    values: np.ndarray


@functools.lru_cache(maxsize=1)
def grid_shapes() -> GridShapes:
    """Return the shapes, drawn once a process."""
    rasters = [*_discs(), *_rectangles(), *_ellipses()]
    values = [contour_shape(outer_contour(np.pad(raster, 1))) for raster in rasters]
    areas = [np.count_nonzero(raster) for raster in rasters]
    return GridShapes(tuple(rasters), np.array(areas), np.array(values))


def find_grid_shape(
    group: MaskGroup,
    target: ShapeTarget,
    pixels: tuple[int, int],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return a shape that many masks of a group have, if one is near a target.

    Args:
        group: What the target was drawn from.
        target: Compactness, solidity, elongation.
        pixels: Its wanted area, and that of the whole mask: what it has more or less than wanted,
            other components have to make up for.
        size: Height and width of the image in pixels.
        rng: Turns the shape by right angles.

    Returns:
        HxW uint8 0/1 in its box; None where the group's values are spread or no shape is near.
    """
    if not group.repeats_shapes:
        return None
    shapes = grid_shapes()
    wanted_area, others = pixels[0], pixels[1] - pixels[0]
    tolerance = min(_MADE_UP * wanted_area, 0.5 * others) if others else 0.025 * wanted_area + 1
    near = np.flatnonzero(np.abs(shapes.areas - wanted_area) <= tolerance)
    if not near.size or min(size) < _SMALLEST_IMAGE:
        return None
    low, high = group.rank_ranges(shapes.values[near])
    wanted = group.ranks(target.compactness, target.solidity, target.elongation)
    errors = np.maximum(np.maximum(low - wanted, wanted - high), 0.0).sum(axis=1)
    common = (high - low).sum(axis=1) >= _LEAST_SHARE
    errors[~(common & (errors <= _LARGEST_ERROR))] = np.inf
    errors += _AREA_WEIGHT * np.abs(np.log(shapes.areas[near] / max(wanted_area, 1)))
    best = int(errors.argmin())
    if not np.isfinite(errors[best]):
        return None
    turned = np.rot90(shapes.rasters[near[best]], int(rng.integers(4)))
    return np.ascontiguousarray(turned)


def _discs() -> list[np.ndarray]:
    return [_drawn(radius, radius, 0) for radius in range(1, _LARGEST_RADIUS + 1)]


def _rectangles() -> list[np.ndarray]:
    sides = range(2, _LARGEST_SIDE + 1)
    pairs = itertools.combinations_with_replacement(sides, 2)
    return [np.ones(pair, np.uint8) for pair in pairs]


def _ellipses() -> list[np.ndarray]:
    axes = itertools.combinations(range(2, _LARGEST_AXIS + 1), 2)
    return [_drawn(long, short, angle) for short, long in axes for angle in _ANGLES]


def _drawn(long: int, short: int, angle: int) -> np.ndarray:
    side, middle = 2 * long + 3, long + 1
    canvas = np.zeros((side, side), np.uint8)
    if long == short:
        cv2.circle(canvas, (middle, middle), long, 1, cv2.FILLED)
    else:
        cv2.ellipse(canvas, (middle, middle), (long, short), angle, 0, 360, 1, cv2.FILLED)
    left, top, width, height = cv2.boundingRect(canvas)
    return canvas[top : top + height, left : left + width].copy()
