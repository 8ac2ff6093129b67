"""What is wrong with a set of shards: faults, and samples that occur twice, of any number of them.

Everything lies in SQLite's temporary file, so memory does not grow with the set.
"""

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator

KEY_TWICE = "key twice"
SAME_PICTURES = "same pictures"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        shard: Name of the tar, or of another file of the folder.
        key: The sample, "" where the whole shard is meant.
        check: The check that found it, for counting.
        reason: What is wrong, in words.
    """

    shard: str
    key: str
    check: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SampleDigest:
    """What tells whether a sample occurs twice: its key, and the digest of its pictures if any."""

    key: str
    pictures: bytes | None


class FaultTable:
    """Collects faults and samples, and finds the samples that occur twice."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # "" is a temporary file, gone when closed
        self._db.execute("CREATE TABLE fault (shard, key, found_by, reason)")
        self._db.execute("CREATE TABLE sample (shard, key, pictures)")

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults."""
        rows = ((fault.shard, fault.key, fault.check, fault.reason) for fault in faults)
        self._db.executemany("INSERT INTO fault VALUES (?, ?, ?, ?)", rows)

    def add_samples(self, shard: str, samples: Iterable[SampleDigest]) -> None:
        """Add the samples of one shard."""
        rows = ((shard, sample.key, sample.pictures) for sample in samples)
        self._db.executemany("INSERT INTO sample VALUES (?, ?, ?)", rows)

    def find_repeats(self) -> Iterator[Fault]:
        """Yield a fault for each sample whose key or whose pictures an earlier sample has.

        Keys that are twice in one shard are not among them: they break its samples.
        """
        words = {
            KEY_TWICE: ("key", "has the key of"),
            SAME_PICTURES: ("pictures", "has the very pictures of"),
        }
        for check, (column, text) in words.items():
            query = (
                "SELECT shard, key, first_shard, first_key FROM (SELECT shard, key, "
                "row_number() OVER same AS n, first_value(shard) OVER same AS first_shard, "
                f"first_value(key) OVER same AS first_key FROM sample WHERE {column} IS NOT NULL "
                f"WINDOW same AS (PARTITION BY {column} ORDER BY rowid)) WHERE n > 1"
            )
            for shard, key, first_shard, first_key in self._db.execute(query):
                if check is not KEY_TWICE or shard != first_shard:
                    reason = f"{text} {first_shard} {first_key}"
                    yield Fault(shard=shard, key=key, check=check, reason=reason)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return, for each check, how many faults it found and in how many shards."""
        query = "SELECT found_by, count(*), count(DISTINCT shard) FROM fault GROUP BY 1 ORDER BY 1"
        return {check: (faults, shards) for check, faults, shards in self._db.execute(query)}

    def __iter__(self) -> Iterator[Fault]:
        query = "SELECT shard, key, found_by, reason FROM fault ORDER BY shard, rowid"
        for shard, key, check, reason in self._db.execute(query):
            yield Fault(shard=shard, key=key, check=check, reason=reason)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM fault").fetchone()[0])
