"""A profile describes a population of artifact masks by distributions, never by given masks."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rba.errors import InputError

FAMILIES = ("noise", "polygon", "stroke", "fragment")
MAX_AREA_RATIO = 0.5

Quantiles = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskProfile:
    """Distributions that the generator draws from.

    Attributes:
        name: What the profile describes.
        area_quantiles: Pairs (probability, area of the mask over area of the image), probabilities
            rising from 0 to 1, values rising in (0, 0.5].
        families: Weight of each shape family in `FAMILIES`.
        elongation_quantiles: Pairs (probability, short over long side), values in (0, 1].
        roughness: Range of the edge's displacement, in shares of the shape's size.
        border_share: Share of masks that may run over the image's border, in [0, 1].

    Raises:
        InputError: If a distribution is not one.
    """

    name: str
    area_quantiles: Quantiles
    families: dict[str, float]
    elongation_quantiles: Quantiles = ((0.0, 0.2), (1.0, 1.0))
    roughness: tuple[float, float] = (0.01, 0.07)
    border_share: float = 0.15

    def __post_init__(self) -> None:
        self._check_quantiles("area_quantiles", self.area_quantiles, MAX_AREA_RATIO)
        self._check_quantiles("elongation_quantiles", self.elongation_quantiles, 1.0)
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise self._error(f"unknown shape families {unknown}; known are {list(FAMILIES)}")
        weights = list(self.families.values())
        if not weights or min(weights) < 0 or sum(weights) <= 0:
            raise self._error(f"family weights {self.families}; give numbers >= 0, one above 0")
        low, high = self.roughness
        if not 0 <= low <= high <= 0.5:
            raise self._error(f"roughness {self.roughness}; give a range within [0, 0.5]")
        if not 0 <= self.border_share <= 1:
            raise self._error(f"border_share {self.border_share}; give a number in [0, 1]")

    def _check_quantiles(self, name: str, quantiles: Quantiles, largest: float) -> None:
        table = np.asarray(quantiles, np.float64)
        if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] != 2:
            raise self._error(f"{name} {quantiles}; give at least two pairs [probability, value]")
        probabilities, values = table.T
        rising = bool((np.diff(probabilities) > 0).all() and (np.diff(values) >= 0).all())
        if not rising or probabilities[0] != 0 or probabilities[-1] != 1:
            raise self._error(f"{name} must rise from probability 0 to 1, got {quantiles}")
        if not (values[0] > 0 and values[-1] <= largest):
            raise self._error(f"{name} must lie in (0, {largest}], got {quantiles}")

    def _error(self, what: str) -> InputError:
        return InputError(f"mask profile {self.name!r}: {what}")

    def draw_area(self, rng: np.random.Generator) -> float:
        """Draw an area ratio, interpolated in the logarithm between the quantiles."""
        probabilities, values = np.asarray(self.area_quantiles, np.float64).T
        return float(np.exp(np.interp(rng.random(), probabilities, np.log(values))))

    def draw_elongation(self, rng: np.random.Generator) -> float:
        """Draw short over long side, in (0, 1]."""
        probabilities, values = np.asarray(self.elongation_quantiles, np.float64).T
        return float(np.interp(rng.random(), probabilities, values))

    def draw_family(self, rng: np.random.Generator) -> str:
        """Draw a shape family by its weight."""
        names = [name for name in FAMILIES if name in self.families]
        weights = np.asarray([self.families[name] for name in names], np.float64)
        return names[int(rng.choice(len(names), p=weights / weights.sum()))]

    def scaled(self, area_factor: float) -> "MaskProfile":
        """Return the profile with all areas multiplied, capped at half of the image.

        Raises:
            InputError: If ``area_factor`` is not above 0.
        """
        if not area_factor > 0:
            raise InputError(f"area_factor {area_factor}: give a number above 0")
        areas = tuple((p, min(a * area_factor, MAX_AREA_RATIO)) for p, a in self.area_quantiles)
        return dataclasses.replace(self, area_quantiles=areas)


def load_profile(name_or_path: str | Path) -> MaskProfile:
    """Load a shipped profile by name (``pal``), or one from a YAML or JSON file.

    Raises:
        InputError: If it does not exist, or does not describe a profile.
    """
    text = _read(name_or_path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"mask profile {name_or_path} is not YAML or JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"mask profile {name_or_path} must be a mapping, see profile=pal")
    return _from_mapping(content, str(name_or_path))


def _read(name_or_path: str | Path) -> str:
    shipped = resources.files("rba.masks") / "profiles"
    known = sorted(item.name.removesuffix(".yaml") for item in shipped.iterdir())
    if str(name_or_path) in known:
        return (shipped / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"mask profile {str(name_or_path)!r} cannot be read ({error}); give one of {known} "
            "or the path of a YAML or JSON file"
        ) from error


def _from_mapping(content: dict[str, Any], source: str) -> MaskProfile:
    known = {field.name for field in dataclasses.fields(MaskProfile)}
    unknown = sorted(str(key) for key in content.keys() - known)
    missing = sorted({"name", "area_quantiles", "families"} - content.keys())
    if unknown or missing:
        raise InputError(f"mask profile {source}: unknown keys {unknown}, missing keys {missing}")
    try:
        values: dict[str, Any] = {key: _frozen(value) for key, value in content.items()}
        return MaskProfile(**values)
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"mask profile {source} holds a value of a wrong kind: {error}") from error


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
