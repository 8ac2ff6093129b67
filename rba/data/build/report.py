"""What a builder kept and dropped: a table for people, the same as JSON."""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from rba.data.output import OutputFolder
from rba.errors import InputError

REPORT_NAME = "build_report.json"
_NAMES_SHOWN = 5


@dataclasses.dataclass
class BuildReport:
    """What a builder kept and dropped.

    Attributes:
        kept: Samples written.
        dropped: Names by reason.
        bytes: Size of the shards.
        seconds: Wall time of this run.
        inputs: Inputs that this run looked at; an interrupted one had looked at others before.
        workers: Processes that worked in parallel.
    """

    kept: int = 0
    dropped: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    bytes: int = 0
    seconds: float = 0.0
    inputs: int = 0
    workers: int = 1

    def drop(self, reason: object, name: object) -> None:
        """Count one input that was left out."""
        self.dropped[str(reason)].append(str(name))

    def drop_all(self, dropped: Iterable[tuple[str, str]]) -> None:
        """Count inputs that were left out, given as reason and name."""
        for reason, name in dropped:
            self.drop(reason, name)

    def require_kept(self, folder: object) -> None:
        """Refuse to finish a build that kept nothing.

        Raises:
            InputError: With the reasons and their counts.
        """
        if not self.kept:
            reasons = ", ".join(f"{len(names)} x {reason}" for reason, names in self._sorted())
            raise InputError(
                f"no input was kept for {folder} ({reasons}); see --help for the limits"
            )

    def write(self, output: OutputFolder) -> None:
        """Write ``build_report.json`` into the folder of the shards."""
        facts: dict[str, Any] = {
            "kept": self.kept,
            "dropped": dict(self._sorted()),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 2),
            "inputs": self.inputs,
            "inputs_per_second": round(self._rate(), 2),
            "workers": self.workers,
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        output.write(REPORT_NAME, text.encode("utf-8", "replace"))

    def table(self) -> str:
        """Return the summary as lines of text."""
        lines = [
            f"{'kept':<32}{self.kept:>12,}",
            *(f"{'dropped: ' + r:<32}{len(n):>12,}  {_some(n)}" for r, n in self._sorted()),
            f"{'megabytes':<32}{self.bytes / 1e6:>12,.1f}",
            f"{'seconds':<32}{self.seconds:>12,.1f}",
            f"{'inputs a second':<32}{self._rate():>12,.1f}  with {self.workers} workers",
        ]
        return "\n".join(lines)

    def _rate(self) -> float:
        return self.inputs / self.seconds if self.seconds else 0.0

    def _sorted(self) -> list[tuple[str, list[str]]]:
        return sorted((reason, sorted(names)) for reason, names in self.dropped.items())


def _some(names: list[str]) -> str:
    more = f", ... {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
