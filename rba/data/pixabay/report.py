"""What a download did: a progress bar, a table at the end, the same as JSON."""

import collections
import json
from typing import Any

from tqdm import tqdm

from rba.data.pixabay.fetch import FetchError
from rba.data.pixabay.folder import REPORT_NAME, PictureFolder
from rba.errors import InputError

_NAMES_SHOWN = 5


class DownloadReport:
    """Counts of one run, and its progress bar.

    Args:
        num_queries: How many queries there are.
        limit: Pictures a query at most: what the bar expects until an answer tells.
    """

    def __init__(self, num_queries: int, limit: int) -> None:
        self.limit = limit
        self.downloaded = 0
        self.already_there = 0
        self.duplicates = 0
        self.bytes = 0
        self.queries: dict[str, dict[str, int]] = {}
        self.failed: dict[str, list[int]] = collections.defaultdict(list)
        self.left_out: dict[str, list[int]] = collections.defaultdict(list)
        self.failed_queries: dict[str, str] = {}
        self.bar: Any = tqdm(
            total=num_queries * limit, desc="pixabay", unit="picture", disable=None
        )

    def require_found(self) -> None:
        """Refuse a download whose queries have all been answered with nothing.

        Raises:
            InputError: With the way out.
        """
        if self.complete and not any(counts["taken"] for counts in self.queries.values()):
            raise InputError("no picture fits; give other queries or weaker filters (--help)")

    @property
    def complete(self) -> bool:
        """Whether nothing is left for another start."""
        return not self.failed and not self.failed_queries

    def expect(self, more: int) -> None:
        """Move the end of the bar by so many pictures, fewer where negative."""
        self.bar.total += more
        self.bar.refresh()

    def finish_query(self, query: str, accessible: int, taken: int) -> None:
        """Count a query that gave all its hits.

        Args:
            query: What was searched.
            accessible: How many hits the API gives for it.
            taken: How many of them are wanted.
        """
        self.queries[query] = {"accessible": accessible, "taken": taken}

    def fail_query(self, query: str, error: FetchError) -> None:
        """Count a query that the API did not answer."""
        self.failed_queries[query] = f"{error}: {error.detail}" if error.detail else str(error)

    def count_duplicate(self) -> None:
        """Count a hit that an earlier query gave."""
        self.duplicates += 1
        self.bar.update()

    def count_present(self) -> None:
        """Count a picture that an earlier run stored."""
        self.already_there += 1
        self.bar.update()

    def leave_out(self, reason: str, number: int) -> None:
        """Count a picture that is not wanted."""
        self.left_out[reason].append(number)

    def store(self, num_bytes: int) -> None:
        """Count a picture that is on the disk now."""
        self.downloaded += 1
        self.bytes += num_bytes
        self.bar.update()

    def fail(self, reason: str, number: int) -> None:
        """Count a picture that could not be had."""
        self.failed[reason].append(number)
        self.bar.set_postfix(failed=sum(map(len, self.failed.values())), refresh=False)
        self.bar.update()

    def finish(self, folder: PictureFolder, num_requests: int, seconds: float) -> None:
        """Write ``download_report.json`` and print the table.

        Args:
            folder: Of the pictures.
            num_requests: Searches that the API was asked.
            seconds: Of the whole run.
        """
        self.bar.close()
        facts = {
            "downloaded": self.downloaded,
            "already_there": self.already_there,
            "duplicates": self.duplicates,
            "failed": _sorted(self.failed),
            "left_out": _sorted(self.left_out),
            "failed_queries": self.failed_queries,
            "queries": self.queries,
            "requests": num_requests,
            "bytes": self.bytes,
            "seconds": round(seconds, 2),
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        folder.files.write(REPORT_NAME, text.encode(errors="replace"))
        print(self.table(num_requests, seconds))

    def table(self, num_requests: int, seconds: float) -> str:
        """Return the summary as lines of text."""
        empty = [query for query, counts in self.queries.items() if not counts["taken"]]
        rows: list[tuple[str, int | float, str]] = [
            ("downloaded", self.downloaded, ""),
            ("already there", self.already_there, ""),
            ("found by an earlier query", self.duplicates, ""),
            *((f"left out: {k}", len(v), _some(v)) for k, v in _sorted(self.left_out).items()),
            *((f"failed: {k}", len(v), _some(v)) for k, v in _sorted(self.failed).items()),
            *(("failed query", 1, f"{k}: {v}") for k, v in self.failed_queries.items()),
            *([("queries without pictures", len(empty), _some(empty))] if empty else []),
            ("requests to the API", num_requests, ""),
            ("megabytes", self.bytes / 1e6, ""),
            ("seconds", seconds, ""),
        ]
        return "\n".join(f"{name:<32}{_number(n):>10}  {names}".rstrip() for name, n, names in rows)


def _sorted(names: dict[str, list[int]]) -> dict[str, list[int]]:
    return {reason: sorted(numbers) for reason, numbers in sorted(names.items())}


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _some(names: list[Any]) -> str:
    more = f", ... {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(str, names[:_NAMES_SHOWN])) + more
