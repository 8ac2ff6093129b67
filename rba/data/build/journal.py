"""What a build has finished, kept beside its shards: a killed one goes on, parts can be merged."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from rba.data.build.built import Fingerprint
from rba.data.output import OutputFolder
from rba.data.writer import MANIFEST_NAME, ShardEntry
from rba.errors import InputError

FOLDER = ".build"
_FACTS = "build.json"


@dataclasses.dataclass(frozen=True)
class SeenRow:
    """An input that passed all filters but perhaps that for duplicates.

    Attributes:
        position: In the shuffled order of all inputs.
        name: As in reports.
        fingerprint: None where duplicates are not searched for.
        kept: Whether it is in the shards.
    """

    position: int
    name: str
    fingerprint: Fingerprint | None
    kept: bool


@dataclasses.dataclass(frozen=True)
class Page:
    """What happened up to the end of one shard.

    Attributes:
        entry: The shard; None for inputs after the last one.
        next: Position of the input to go on with.
        dropped: Reason and name of inputs that did not pass the filters.
        seen: The others, in order.
    """

    entry: ShardEntry | None
    next: int
    dropped: Sequence[tuple[str, str]]
    seen: Sequence[SeenRow]

    def dump(self) -> bytes:
        """Return the page as JSON."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Return the page that `dump` wrote."""
        facts = json.loads(data)
        rows: list[SeenRow] = []
        for row in facts["seen"]:
            found = row.pop("fingerprint")
            rows.append(SeenRow(**row, fingerprint=found and Fingerprint(**found)))
        entry = facts["entry"] and ShardEntry(**facts["entry"])
        dropped = [(reason, name) for reason, name in facts["dropped"]]
        return cls(entry, facts["next"], dropped, rows)


class Journal:
    """The pages of one output folder.

    Args:
        output: Where the shards are.
        facts: What must be equal for a build to go on: settings, inputs, part.
    """

    def __init__(self, output: OutputFolder, facts: Mapping[str, Any]) -> None:
        self._output = output
        self.facts = json.loads(json.dumps(facts))
        self._pages = 0
        self._dropped: list[tuple[str, str]] = []
        self._seen: list[SeenRow] = []

    def refuse_others(self) -> None:
        """Refuse to go on with what another build has begun.

        Raises:
            InputError: Naming what differs.
        """
        found = read_facts(self._output)
        if found is None or found == self.facts:
            return
        before, now = _flat(found), _flat(self.facts)
        differing = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        words = ", ".join(f"{key} {before.get(key)}, now {now.get(key)}" for key in differing)
        raise InputError(
            f"{self._output} holds an unfinished build with other settings or inputs ({words}); "
            "finish it as it was begun, or give another folder or overwrite=true"
        )

    def begin(self) -> list[Page]:
        """Return the pages of finished shards; make the journal where there is none."""
        if read_facts(self._output) is None:
            self._output.write(f"{FOLDER}/{_FACTS}", json.dumps(self.facts).encode())
        pages: list[Page] = []
        for page in read_pages(self._output):
            if page.entry is not None and self._output.size(page.entry.name) != page.entry.bytes:
                break
            pages.append(page)
        self._pages = len(pages)
        return pages

    def drop(self, reason: str, name: str) -> None:
        """Take note of an input that did not pass the filters."""
        self._dropped.append((reason, name))

    def see(self, row: SeenRow) -> None:
        """Take note of an input that passed the filters."""
        self._seen.append(row)

    def finish(self, entry: ShardEntry | None, position: int) -> None:
        """Write what was noted as the page of a shard; ``position`` is the next input's."""
        if entry is None and not self._dropped and not self._seen:
            return
        page = Page(entry, position, self._dropped, self._seen)
        self._output.write(f"{FOLDER}/{self._pages:06d}.json", page.dump())
        self._pages += 1
        self._dropped, self._seen = [], []

    def remove(self) -> None:
        """Remove the journal; the shards tell everything."""
        self._output.remove(FOLDER)


def read_facts(output: OutputFolder) -> dict[str, Any] | None:
    """Return what the build of a folder was begun with, None where there is no journal."""
    data = output.read(f"{FOLDER}/{_FACTS}")
    return None if data is None else json.loads(data)


def read_pages(output: OutputFolder) -> Iterator[Page]:
    """Yield the pages of a folder in order."""
    number = 0
    while (data := output.read(f"{FOLDER}/{number:06d}.json")) is not None:
        yield Page.load(data)
        number += 1


def is_finished(output: OutputFolder) -> bool:
    """Return whether a folder has a manifest."""
    return output.size(MANIFEST_NAME) is not None


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: facts[key] for key in facts if key != "settings"}, **facts.get("settings", {})}
