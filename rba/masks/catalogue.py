"""Which traits give which shape: measured once a process on our own families, then looked up."""

import cmath
import dataclasses
import functools
import math
from collections.abc import Mapping

import cv2
import numpy as np

from rba.draws import keyed_generator
from rba.masks.shapes import FAMILIES, Form, Traits, draw_form
from rba.masks.statistics import contour_roughness, contour_shape

_ENTRIES = 800  # of each family
_NEIGHBOURS = 6
_PARTS = 2
# The pixel grid makes any contour longer and rougher than the outline it is drawn from.
GRID_LENGTH = 1.06
_GRID_ROUGHNESS = 0.05
_GRID_HULL = 0.22  # pixels of the hull beyond a convex component, per pixel of its contour
_WEIGHTS = np.array([1.0, 1.0, 0.7, 0.8])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeTarget:
    """What a shape should measure; see `MaskStatistics`."""

    compactness: float
    solidity: float
    elongation: float
    roughness: float

    def off_grid(self, pixels: float) -> "ShapeTarget":
        """Return about what an outline measures whose raster image measures this.

        Args:
            pixels: Area of the raster image.
        """
        area, length = self.area_and_length(pixels)
        excess = 1.0 / (self.solidity + 1e-3) - _GRID_HULL * length / max(area, 1.0)
        return dataclasses.replace(
            self,
            compactness=self.compactness * GRID_LENGTH**2,
            solidity=1.0 / max(excess, 1.0),
            roughness=max(self.roughness - _GRID_ROUGHNESS, 0.0),
        )

    def area_and_length(self, pixels: float) -> tuple[float, float]:
        """Return area and length of a contour of this compactness around so many pixels."""
        half = math.sqrt(math.pi / (self.compactness + 1e-3))
        root = 0.5 * (math.sqrt(half**2 + 4.0 * max(pixels - 1.0, 0.0)) - half)
        return root**2, 2.0 * half * root

    def coordinates(self) -> np.ndarray:
        """Return the four numbers on scales on which equal steps look alike."""
        shape = shape_coordinates(self.compactness, self.solidity, self.elongation)
        return np.append(shape, 6.0 * self.roughness)


def shape_coordinates(compactness: float, solidity: float, elongation: float) -> np.ndarray:
    """Return logarithms of compactness, of what lacks to solidity 1, and of elongation."""
    lacking = math.log(1.02 - solidity)
    return np.array([math.log(compactness + 0.004), lacking, math.log(elongation + 0.01)])


def shape_from_coordinates(coordinates: np.ndarray) -> tuple[float, float, float]:
    """Return compactness, solidity and elongation: the inverse of `shape_coordinates`."""
    compactness, lacking, elongation = np.exp(coordinates).tolist()
    return compactness - 0.004, 1.02 - lacking, elongation - 0.01


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Entries of all families.

    Attributes:
        traits: Of each entry, family by family.
        stretches: Logarithm of the stretch of the short side.
        coordinates: What was measured, weighted, [part, family, entry of the part, 4].
    """

    traits: tuple[Traits, ...]
    stretches: np.ndarray
    coordinates: np.ndarray

    def pick(
        self, target: ShapeTarget, weights: Mapping[str, float], rng: np.random.Generator
    ) -> int:
        """Draw one of the entries nearest to a target, nearer ones more often.

        Args:
            target: What to meet.
            weights: Weight of each family; one of weight 0 is never taken.
            rng: Source of the choice.

        Returns:
            The entry's number.
        """
        # A random part of the entries: faster, and neighbours differ from draw to draw.
        start, most = int(rng.integers(_PARTS)), max(weights.values())
        kept = [k for k, name in enumerate(FAMILIES) if weights.get(name, 0.0) > 1e-6 * most]
        entries = self.coordinates[start]
        if len(kept) < len(FAMILIES):
            entries = entries[kept]
        gaps = entries - target.coordinates() * _WEIGHTS
        distance = np.sqrt(np.einsum("kij,kij->ki", gaps, gaps))
        distance -= np.array([[0.3 * math.log(weights[FAMILIES[k]] / most)] for k in kept])
        distance = distance.ravel()
        nearest = np.argpartition(distance, _NEIGHBOURS)[:_NEIGHBOURS]
        chances = np.exp(-8.0 * (distance[nearest] - distance[nearest].min())).cumsum()
        place = int(np.searchsorted(chances, rng.random() * chances[-1]))
        family, entry = divmod(int(nearest[min(place, _NEIGHBOURS - 1)]), _ENTRIES // _PARTS)
        return kept[family] * _ENTRIES + entry * _PARTS + start

    def form(self, index: int) -> Form:
        """Return the very form that was measured for an entry."""
        family = self.traits[index].family
        rng = keyed_generator(0, "mask catalogue", family, index % _ENTRIES)
        return draw_form(_draw_traits(family, rng)[0], rng)


@functools.cache
def catalogue() -> Catalogue:
    """Return the catalogue, measured at the first call (under a second)."""
    traits: list[Traits] = []
    stretches: list[float] = []
    measured: list[np.ndarray] = []
    for family in FAMILIES:
        for index in range(_ENTRIES):
            rng = keyed_generator(0, "mask catalogue", family, index)
            entry, stretch = _draw_traits(family, rng)
            form = draw_form(entry, rng)
            outline = form.outline(entry.bend, entry.fray)
            contour = as_contour(stretched(outline * turn_to_frame(outline), stretch))
            compactness, solidity, elongation = contour_shape(contour)
            found = ShapeTarget(
                compactness=compactness,
                solidity=solidity,
                elongation=elongation,
                roughness=contour_roughness(contour),
            )
            traits.append(entry)
            stretches.append(stretch)
            measured.append(found.coordinates())
    shape = (len(FAMILIES), _ENTRIES // _PARTS, _PARTS, len(_WEIGHTS))
    coordinates = (np.stack(measured) * _WEIGHTS).reshape(shape).transpose(2, 0, 1, 3)
    return Catalogue(tuple(traits), np.array(stretches), np.ascontiguousarray(coordinates))


def _draw_traits(family: str, rng: np.random.Generator) -> tuple[Traits, float]:
    detail, softness = rng.random(2)
    if family == "stroke":
        fray = rng.uniform(0.5, 7.0)
        # A path that turns more than its width allows would cover itself.
        bend = min(4.5, 2.0 * (fray - 0.5)) * rng.random() ** 1.5
        stretch = rng.normal(0.0, 0.25)
    else:
        bend = rng.uniform(0.7, 1.2) if family == "polygon" else 1.3 * rng.random() ** 1.5
        fray = 0.1 * max(rng.uniform(-0.5, 1.0), 0.0) ** 3
        stretch = -2.5 * rng.random() ** 1.5
    traits = Traits(family=family, bend=bend, fray=fray, detail=detail, softness=softness)
    return traits, stretch


def turn_to_frame(outline: np.ndarray) -> complex:
    """Return the unit number that turns the minimal rectangle's long side to the x axis."""
    (_, _), (width, height), angle = cv2.minAreaRect(cv2.convexHull(as_contour(outline)))
    turn = cmath.exp(-1j * math.radians(angle))
    return turn if width >= height else -1j * turn


def stretched(outline: np.ndarray, stretch: float) -> np.ndarray:
    """Multiply y by exp(stretch)."""
    return np.real(outline) + 1j * (math.exp(stretch) * np.imag(outline))


def as_contour(outline: np.ndarray) -> np.ndarray:
    """Complex N to OpenCV's Nx1x2 float32."""
    return outline.astype(np.complex64).view(np.float32).reshape(-1, 1, 2)
