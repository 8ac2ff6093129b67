"""A profile describes a population of artifact masks by distributions, never by given masks."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from rba.errors import InputError
from rba.masks.shapes import FAMILIES
from rba.masks.statistics import STATISTICS, MaskStatistics

VERSION = 2
MAX_AREA_RATIO = 0.5  # of what `scaled` may make; a population may have larger ones
LIMITS = {
    "area_ratio": (1e-6, 0.95),
    "num_components": (1.0, 1000.0),
    "largest_share": (1e-3, 1.0),
    "spread": (1.0, 1000.0),
    "compactness": (0.0, 1.0),
    "solidity": (0.0, 1.0),
    "elongation": (0.0, 1.0),
    "roughness": (0.0, 1.0),
    "border_distance": (0.0, 0.5),
}
_SAME = 2e-4  # of compactness, solidity, elongation
_IN_LOGARITHM = ("area_ratio", "num_components", "spread")

Quantiles = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskGroup:
    """A part of the population whose masks resemble each other.

    Attributes:
        weight: Share of the population, up to a common factor.
        quantiles: For each statistic of `MaskStatistics` pairs (probability, value): the inverse of
            its cumulative distribution, probabilities rising from 0 to 1.
        correlations: Triples (statistic, statistic, correlation of their normal scores).
        families: Weight of each shape family in `FAMILIES`; all alike by default.
        aims: Quantiles to ask of the generator in place of those above, where it is known not to
            meet what it is asked for (a fit measures that).
        name: What it is, for readers.

    Raises:
        InputError: If a distribution is not one.
    """

    weight: float
    quantiles: Mapping[str, Quantiles]
    correlations: tuple[tuple[str, str, float], ...] = ()
    families: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(FAMILIES, 1.0)
    )
    aims: Mapping[str, Quantiles] = dataclasses.field(default_factory=dict[str, Quantiles])
    name: str = ""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight {self.weight}; give a number >= 0")
        if missing := sorted(set(STATISTICS) - set(self.quantiles)):
            raise InputError(f"quantiles of {missing} are missing")
        for name, quantiles in (*self.quantiles.items(), *self.aims.items()):
            _check_quantiles(name, quantiles)
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise InputError(f"unknown shape families {unknown}; known are {list(FAMILIES)}")
        weights = list(self.families.values())
        if not weights or min(weights) < 0 or sum(weights) <= 0:
            raise InputError(f"family weights {self.families}; give numbers >= 0, one above 0")
        for first, second, value in self.correlations:
            if {first, second} - set(STATISTICS) or not -1 <= value <= 1:
                raise InputError(f"correlation {first}, {second}, {value} is none")

    def draw(self, rng: np.random.Generator) -> MaskStatistics:
        """Draw the statistics of one mask."""
        chances = ndtr(self._factor @ rng.standard_normal(len(STATISTICS)))
        values = {
            name: self._value(name, float(p)) for name, p in zip(STATISTICS, chances, strict=True)
        }
        count = max(round(values.pop("num_components")), 1)
        return MaskStatistics(num_components=count, **values)

    def ranks(self, compactness: float, solidity: float, elongation: float) -> np.ndarray:
        """Return the share of the population below each of three numbers, 3 values in [0, 1]."""
        found = (compactness, solidity, elongation)
        pairs = zip(found, self._rank_tables, strict=True)
        return np.array([np.interp(x, values, chances) for x, (values, chances) in pairs])

    def rank_ranges(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of the population below, and not above, each of [N, 3] numbers.

        The two differ where many masks have the very number. Columns as in `ranks`.
        """
        tables = zip(values.T, self._rank_tables, strict=True)
        ends = [
            (np.interp(x - _SAME, found, chances), np.interp(x + _SAME, found, chances))
            for x, (found, chances) in tables
        ]
        low, high = (np.stack(end, axis=1) for end in zip(*ends, strict=True))
        return low, high

    @functools.cached_property
    def repeats_shapes(self) -> bool:
        """Whether many masks have the very same compactness, and solidity or elongation."""
        repeats = [bool((np.diff(values) < _SAME).any()) for values, _ in self._rank_tables]
        return repeats[0] and any(repeats[1:])

    def _value(self, name: str, probability: float) -> float:
        value = float(np.interp(probability, *self._tables[name]))
        return float(np.exp(value)) if name in _IN_LOGARITHM else value

    @functools.cached_property
    def _tables(self) -> dict[str, np.ndarray]:
        """Probabilities and values (2xN) to interpolate in, in the logarithm where that is used."""
        tables: dict[str, np.ndarray] = {}
        for name in STATISTICS:
            table = np.array(self.aims.get(name, self.quantiles[name]), np.float64).T
            if name in _IN_LOGARITHM:
                table[1] = np.log(table[1])
            tables[name] = np.ascontiguousarray(table)
        return tables

    @functools.cached_property
    def _rank_tables(self) -> list[tuple[np.ndarray, np.ndarray]]:
        names = ("compactness", "solidity", "elongation")
        return [(self._tables[name][1], self._tables[name][0]) for name in names]

    @functools.cached_property
    def _factor(self) -> np.ndarray:
        """Matrix from independent to correlated normal numbers."""
        matrix = np.eye(len(STATISTICS))
        for first, second, value in self.correlations:
            a, b = STATISTICS.index(first), STATISTICS.index(second)
            matrix[a, b] = matrix[b, a] = value
        values, vectors = np.linalg.eigh(matrix)
        factor = vectors * np.sqrt(np.maximum(values, 1e-6))
        return factor / np.linalg.norm(factor, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskProfile:
    """A population: groups that a mask belongs to with a chance.

    Attributes:
        name: What the profile describes.
        groups: At least one, one weight above 0.

    Raises:
        InputError: If no group has a weight.
    """

    name: str
    groups: tuple[MaskGroup, ...]

    def __post_init__(self) -> None:
        if not self.groups or sum(group.weight for group in self.groups) <= 0:
            raise InputError(f"mask profile {self.name!r}: no group has a weight above 0")

    def draw(self, rng: np.random.Generator) -> tuple[MaskGroup, MaskStatistics]:
        """Draw a group, and from it the statistics of one mask."""
        bounds = np.cumsum([group.weight for group in self.groups])
        place = int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))
        group = self.groups[min(place, len(self.groups) - 1)]
        return group, group.draw(rng)

    def scaled(self, area_factor: float) -> "MaskProfile":
        """Return the profile with all areas multiplied, capped at half of the image.

        Raises:
            InputError: If ``area_factor`` is not above 0.
        """
        if not area_factor > 0:
            raise InputError(f"area_factor {area_factor}: give a number above 0")
        if area_factor == 1:
            return self
        groups: list[MaskGroup] = []
        for group in self.groups:
            changed = {
                name: {**quantiles, "area_ratio": _scaled(quantiles["area_ratio"], area_factor)}
                for name, quantiles in (("quantiles", group.quantiles), ("aims", group.aims))
                if "area_ratio" in quantiles
            }
            groups.append(dataclasses.replace(group, **changed))
        return dataclasses.replace(self, groups=tuple(groups))

    def with_area(self, share: float) -> "MaskProfile":
        """Return the profile with all areas equal to a share of the image; the rest stays.

        Raises:
            InputError: If ``share`` is out of the range of areas.
        """
        area: Quantiles = ((0.0, share), (1.0, share))
        groups = [
            dataclasses.replace(
                group,
                quantiles={**group.quantiles, "area_ratio": area},
                aims={name: table for name, table in group.aims.items() if name != "area_ratio"},
            )
            for group in self.groups
        ]
        return dataclasses.replace(self, groups=tuple(groups))


def _scaled(quantiles: Quantiles, factor: float) -> Quantiles:
    smallest = LIMITS["area_ratio"][0]
    return tuple((p, max(min(v * factor, max(v, MAX_AREA_RATIO)), smallest)) for p, v in quantiles)


def _check_quantiles(name: str, quantiles: Quantiles) -> None:
    if name not in LIMITS:
        raise InputError(f"unknown statistic {name!r}; known are {list(STATISTICS)}")
    table = np.asarray(quantiles, np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] != 2:
        raise InputError(f"{name} {quantiles}; give at least two pairs [probability, value]")
    probabilities, values = table.T
    rising = bool((np.diff(probabilities) > 0).all() and (np.diff(values) >= 0).all())
    if not rising or probabilities[0] != 0 or probabilities[-1] != 1:
        raise InputError(f"{name} must rise from probability 0 to 1, got {quantiles}")
    low, high = LIMITS[name]
    if not (values[0] >= low and values[-1] <= high):
        raise InputError(f"{name} must lie in [{low:g}, {high:g}], got {quantiles}")
