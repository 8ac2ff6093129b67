"""How many bad samples a run bears, and how they are counted and listed."""

import collections
import dataclasses
from collections.abc import Iterable

from rba.batch import BadSample
from rba.errors import InputError, RunStoppedError


class TooManyBadSamplesError(RunStoppedError):
    """More samples are bad than the run bears."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadSampleLimit:
    """How many different bad samples a run bears; training and validation are counted apart.

    Attributes:
        count: At most so many; null = any number.
        share: At most this share of the different samples read so far; null = any share.
        min_samples: The share is taken of at least so many, so that one bad sample of the first
            eight ends no run.

    Raises:
        InputError: If a number is out of bounds.
    """

    count: int | None = 1000
    share: float | None = 0.01
    min_samples: int = 1000

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise InputError(f"max_bad_samples.count={self.count}; give 0 or more, or null")
        if self.share is not None and not 0.0 <= self.share <= 1.0:
            raise InputError(f"max_bad_samples.share={self.share}; give 0 to 1, or null")
        if self.min_samples < 1:
            raise InputError(f"max_bad_samples.min_samples={self.min_samples}; give 1 or more")

    def exceeded(self, bad: int, read: int) -> str | None:
        """Return the limit that is passed, in words, or None.

        Args:
            bad: Different bad samples so far.
            read: Different samples read so far.
        """
        if self.count is not None and bad > self.count:
            return f"{bad:,} samples are bad, more than max_bad_samples.count={self.count}"
        if self.share is not None and bad > self.share * max(read, self.min_samples):
            return (
                f"{bad:,} of the {read:,} samples read so far are bad, more than "
                f"max_bad_samples.share={self.share}"
            )
        return None


def summarize(bad: Iterable[BadSample], shown: int | None = None) -> list[str]:
    """Return a line for each shard and reason with its count, the most frequent first.

    Args:
        bad: The samples.
        shown: At most so many lines; one more says how many are left out.
    """
    lines = [f"{n:,} x {shard}: {reason}" for n, shard, reason in _counts(bad)]
    if shown is not None and len(lines) > shown:
        lines[shown:] = [f"... {len(lines) - shown:,} more shards and reasons"]
    return lines


def tabulate(bad: Iterable[BadSample]) -> list[str]:
    """Return the lines of a table: samples, shard, reason."""
    rows = [("samples", "shard", "reason")]
    rows += [(f"{n:,}", shard, reason) for n, shard, reason in _counts(bad)]
    width = max(len(shard) for _, shard, _ in rows)
    return [f"{n:>9}  {shard:<{width}}  {reason}" for n, shard, reason in rows]


def _counts(bad: Iterable[BadSample]) -> list[tuple[int, str, str]]:
    counts = collections.Counter((f"{b.dataset}/{b.shard}", b.reason) for b in bad)
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(n, shard, reason) for (shard, reason), n in rows]
