"""Which shard sets a mode reads, and with which weights: from a setting to opened sets.

The setting is a folder, manifest or pattern of tars; or a list of these, weighted by their sizes;
or a mapping of names to them, ``{mine: DIR, others: {shards: DIR, weight: 3}}``.
"""

import collections
import dataclasses
from typing import Any, TypeAlias

from rba.batch import Mode
from rba.data.mixture import Mixture
from rba.data.shards import ShardSet
from rba.data.storage.settings import StorageSettings
from rba.errors import InputError

ShardChoice: TypeAlias = str | list[Any] | dict[str, Any]

_FORMS = "give PATTERN, [PATTERN,PATTERN] or {NAME: {shards: PATTERN, weight: 1}, NAME: ...}"


@dataclasses.dataclass(frozen=True)
class _Wish:
    """One set of the setting, not opened yet."""

    name: str | None  # None = the folder's
    pattern: str
    weight: Any = None  # None = by size


class ShardChoiceSets:
    """The opened sets of one mode, in the order of their names.

    Attributes:
        sets: The sets; their names differ.
        mixture: Which set a position of the mode takes.
    """

    def __init__(self, sets: list[tuple[ShardSet, Any]]) -> None:
        ordered = sorted(sets, key=lambda pair: pair[0].name)
        self.sets = tuple(shards for shards, _ in ordered)
        self.mixture = Mixture(
            [len(shards) if weight is None else weight for shards, weight in ordered]
        )

    def __len__(self) -> int:
        return sum(len(shards) for shards in self.sets)

    def paths(self) -> set[Any]:
        """Return where the shards of all sets lie."""
        return {path for shards in self.sets for path in shards.paths()}


def open_choice(
    choice: ShardChoice, mode: Mode, key: str, storage: StorageSettings | None = None
) -> ShardChoiceSets:
    """Open the sets that a setting names.

    Args:
        choice: The setting's value.
        mode: What the shards must hold.
        key: The setting, for messages.
        storage: How shards behind URLs are read.

    Raises:
        InputError: If the value has none of the forms, names or weights do not fit, two sets have
            one name, or a set cannot be opened.
    """
    wishes = _read_choice(choice, key)
    weighted = [wish.pattern for wish in wishes if wish.weight is not None]
    if weighted and len(weighted) < len(wishes):
        raise InputError(
            f"{key}: {weighted[0]} has a weight and others have none; give every set one, or none "
            "to weight them by their sizes"
        )
    opened: list[tuple[ShardSet, Any]] = []
    patterns: dict[str, list[str]] = collections.defaultdict(list)
    for wish in wishes:
        shards = ShardSet.open(wish.pattern, mode, storage)
        if wish.name is not None:
            shards.name = wish.name
        patterns[shards.name].append(wish.pattern)
        opened.append((shards, wish.weight))
    for name, equal in patterns.items():
        if len(equal) > 1:
            raise InputError(
                f"{key}: {' and '.join(equal)} are both named {name}, so sample ids could not tell "
                f"them apart; give names: {key}={{a: {equal[0]}, b: {equal[1]}}}"
            )
    return ShardChoiceSets(opened)


def _read_choice(choice: Any, key: str) -> list[_Wish]:
    if isinstance(choice, str) and choice:
        return [_Wish(None, choice)]
    if isinstance(choice, list) and choice and all(isinstance(item, str) for item in choice):
        return [_Wish(None, item) for item in choice]
    if isinstance(choice, dict) and choice:
        return [_read_named(str(name), value, f"{key}.{name}") for name, value in choice.items()]
    raise InputError(f"{key}={choice} names no shards; {_FORMS}")


def _read_named(name: str, value: Any, key: str) -> _Wish:
    if not name or "/" in name:
        raise InputError(f"{key}: a set's name is a part of sample ids; give one without /")
    if isinstance(value, str):
        return _Wish(name, value)
    if not isinstance(value, dict) or not isinstance(value.get("shards"), str):
        raise InputError(f"{key}={value} names no shards; {_FORMS}")
    unknown = sorted(set(value) - {"shards", "weight"})
    if unknown:
        raise InputError(f"{key}.{unknown[0]} is unknown; a set has shards and weight")
    weight = value.get("weight")
    if weight is not None:
        try:
            Mixture([weight])
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
    return _Wish(name, value["shards"], weight)
