"""Which views of an object make pairs, by setting; and the list of all of them."""

import dataclasses
import json
from array import array
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, overload

import numpy as np

from rba.data.build.sizes import DroppedError
from rba.data.objects.views import ObjectViews, View, ViewPair
from rba.draws import keyed_generator
from rba.errors import InputError

_MOST_LOOKED_AT = 1_000_000  # ordered pairs of one object


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairChoice:
    """How pairs are chosen.

    Attributes:
        max_pairs: Ordered pairs of an object, at least 1.
        view_distance: Least and most steps between two views in their order; most 0 = no limit.
        view_angle: Least and most degrees between the sides two views are taken from; only where
            both cameras are known.
        seed: Of the choice where there are more.

    Raises:
        InputError: If a range is none.
    """

    max_pairs: int = 12
    view_distance: tuple[int, int] = (1, 0)
    view_angle: tuple[float, float] = (0.0, 180.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_pairs < 1:
            raise InputError(f"max_pairs={self.max_pairs}; give at least 1")
        low, high = _range("view_distance", self.view_distance)
        if low < 1 or (high and high < low):
            raise InputError(f"view_distance={[low, high]}; give least >= 1, and most or 0")
        low, high = _range("view_angle", self.view_angle)
        if not 0 <= low <= high <= 180:
            raise InputError(f"view_angle={[low, high]}; give two of 0 to 180 degrees")

    def pairs(self, found: ObjectViews) -> list[ViewPair]:
        """Return ordered pairs of an object's views, a pure function of its name and the seed.

        Raises:
            DroppedError: If there is none.
        """
        count = len(found.views)
        if count < 2:
            raise DroppedError("fewer than two views")
        least, most = self.view_distance
        target, reference = np.divmod(np.arange(min(count**2, _MOST_LOOKED_AT)), count)
        distance = np.abs(target - reference)
        fits = (distance >= least) & (distance <= (most or count))
        if found.directions is not None:
            angle = _angles(found.directions, target, reference)
            fits &= ~((angle < self.view_angle[0]) | (angle > self.view_angle[1]))
        fitting = np.flatnonzero(fits)
        if not len(fitting):
            raise DroppedError("no two views within view_distance and view_angle")
        if len(fitting) > self.max_pairs:
            rng = keyed_generator(self.seed, "pairs", found.name, 0)
            fitting = np.sort(fitting[rng.permutation(len(fitting))[: self.max_pairs]])
        return [_pair(found, int(target[n]), int(reference[n])) for n in fitting]


class PairList(Sequence[tuple[str, ViewPair]]):
    """Names and pairs in some hundred bytes each.

    Attributes:
        root: What relative paths start from.
        layout: How the views lie there.
        dropped: Reason and name of what was found and makes no pair.
        num_objects: Objects looked at.
        num_views: Views of them.
    """

    def __init__(self, root: str, layout: str) -> None:
        self.root = root
        self.layout = layout
        self.dropped: list[tuple[str, str]] = []
        self.num_objects = 0
        self.num_views = 0
        self._text = bytearray()
        self._ends = array("Q")

    def append(self, pair: ViewPair) -> None:
        """Add a pair at the end."""
        # In ASCII: names of any bytes survive it.
        self._text += json.dumps(dataclasses.astuple(pair), separators=(",", ":")).encode("ascii")
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ViewPair]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, ViewPair]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ViewPair] | list[tuple[str, ViewPair]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = self._ends[index - 1] if index else 0
        name, target, reference, *rest = json.loads(self._text[start : self._ends[index]])
        pair = ViewPair(name, View(*target), View(*reference), *rest)
        return pair.name, pair

    def __str__(self) -> str:
        if not self.num_objects:
            return f"layout {self.layout}: {len(self):,} pairs"
        return (
            f"layout {self.layout}: {self.num_objects:,} objects with {self.num_views:,} views, "
            f"{len(self):,} pairs"
        )


def _pair(found: ObjectViews, first: int, second: int) -> ViewPair:
    target, reference = found.views[first], found.views[second]
    facts: dict[str, Any] = {**found.facts, "view_distance": abs(first - second)}
    if found.directions is not None:
        angle = _angles(found.directions, np.array([first]), np.array([second]))[0]
        if np.isfinite(angle):
            facts["view_angle"] = round(float(angle), 1)
    stems = [PurePath(view.path).stem for view in (target, reference)]
    exact = f"{stems[0]}-{stems[1]}.correspondence.png"
    place = PurePath(target.path).with_name(exact).as_posix()
    correspondence = place if exact in found.correspondences else None
    return ViewPair(found.name, target, reference, correspondence, facts)


def _angles(
    directions: Sequence[Sequence[float] | None], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return the degrees between directions, NaN where one is not known."""
    unknown = (np.nan,) * 3
    table = np.array([unknown if side is None else side for side in directions], np.float64)
    cosine = np.einsum("ni,ni->n", table[first], table[second])
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _range(name: str, value: Sequence[Any]) -> tuple[Any, Any]:
    if len(value) != 2:
        raise InputError(f"{name}={list(value)}; give two numbers, least and most")
    return value[0], value[1]
