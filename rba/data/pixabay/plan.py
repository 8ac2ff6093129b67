"""From queries to the pictures that are still to be downloaded."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rba.data.pixabay.api import MAX_HITS, MAX_QUERY_CHARACTERS, Filters, Hit, read_hit
from rba.data.pixabay.client import Page, PixabayClient, search_parameters
from rba.data.pixabay.fetch import KEY_NAME, FetchError
from rba.data.pixabay.folder import PictureFolder
from rba.data.pixabay.limit import RateLimit
from rba.data.pixabay.report import DownloadReport
from rba.errors import InputError

# From so many on the terms are worth a reminder (our choice).
_MANY_PICTURES = 1_000
# Queries in a row that no retry got an answer for; the next ones would wait as long in vain.
_MOST_UNANSWERED = 3


def read_queries(given: Sequence[object], file: str | None) -> list[str]:
    """Return all queries once, in order.

    Args:
        given: Queries; an empty one means all pictures that pass the filters.
        file: Text file with one query a line; empty lines and those that start with # are left out.

    Raises:
        InputError: If there is none, one is too long, or the file cannot be read.
    """
    lines: list[str] = []
    if file is not None:
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"queries_file={file} cannot be read: {reason}") from None
        lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    queries = [" ".join(str(query).split()) for query in (*given, *lines)]
    if not queries:
        raise InputError('no query; give queries=[cat,"yellow flower"] or queries_file=FILE')
    for query in queries:
        if len(query) > MAX_QUERY_CHARACTERS:
            raise InputError(
                f"query {query[:40]!r}... has {len(query)} characters; "
                f"Pixabay takes at most {MAX_QUERY_CHARACTERS}"
            )
    return list(dict.fromkeys(queries))


def describe_plan(search: "Search", folder: PictureFolder, limit: RateLimit) -> str:
    """Return what a download asks for at most, as lines of text; nothing is sent."""
    needed, kept = search.count_requests()
    pictures = len(search.queries) * search.limit
    minutes = limit.seconds_for(needed - kept) / 60
    rows = [
        ("queries", f"{len(search.queries):,}"),
        ("pictures wanted, at most", f"{pictures:,}"),
        ("pictures there", f"{len(folder.scan()):,}"),
        ("requests to the API, about", f"{needed - kept:,}"),
        ("answers of the last 24 hours", f"{kept:,}"),
        ("minutes under the rate limit", f"{minutes:,.0f}"),
        (KEY_NAME, "set" if search.client.fetcher.secret.value else "not set"),
    ]
    lines = [f"{name:<32}{value:>10}" for name, value in rows]
    if pictures >= _MANY_PICTURES:
        lines.append("Pixabay allows systematic mass downloads only with its permission.")
    return "\n".join(lines)


class Search:
    """All searches of a download.

    Args:
        client: Asks the API.
        queries: As `read_queries` gives them.
        filters: Which pictures.
        limit: Pictures a query, at most 500.
        per_page: Hits an answer, 3 to 200.
        size: Name of the files' size.
        leave_out: Response keys; pictures for which one is true are not taken.
    """

    def __init__(
        self,
        client: PixabayClient,
        queries: Sequence[str],
        filters: Filters,
        *,
        limit: int,
        per_page: int,
        size: str,
        leave_out: tuple[str, ...],
    ) -> None:
        for name, value, low, high in (
            ("limit", limit, 1, MAX_HITS),
            ("per_page", per_page, 3, 200),
        ):
            if not low <= value <= high:
                raise InputError(f"{name}={value}; Pixabay gives {low} to {high}")
        self.client = client
        self.queries = queries
        self.filters = filters
        self.limit = limit
        self.per_page = per_page
        self.size = size
        self.leave_out = leave_out

    def count_requests(self) -> tuple[int, int]:
        """Return how many answers are needed, and how many of them are kept already.

        A query whose first answer is not kept counts as if it had enough hits.
        """
        needed = kept = 0
        for query in self.queries:
            first = self._kept(query, 1)
            wanted = self.limit if first is None else min(self.limit, first["totalHits"])
            pages = max(1, math.ceil(wanted / self.per_page))
            needed += pages
            kept += first is not None
            kept += sum(self._kept(query, page) is not None for page in range(2, pages + 1))
        return needed, kept

    def missing(self, folder: PictureFolder, report: DownloadReport) -> Iterator[Hit]:
        """Yield every picture that the folder lacks, once, query after query.

        A query that the API does not answer is counted, and the next one goes on; after three in a
        row the rest is counted without asking.

        Raises:
            InputError: If the API refuses the key or has no files of this size for it.
        """
        seen: set[int] = set()
        unanswered = 0
        for query in self.queries:
            if unanswered == _MOST_UNANSWERED:
                report.fail_query(query, FetchError("not asked, as the API did not answer before"))
                continue
            try:
                for hit in self._wanted(query, report):
                    known = hit.id in seen
                    seen.add(hit.id)
                    if known:
                        report.count_duplicate()
                    elif folder.holds(hit.id):
                        report.count_present()
                    else:
                        yield hit
                unanswered = 0
            except FetchError as error:
                report.fail_query(query, error)
                unanswered = unanswered + 1 if error.temporary else 0

    def _wanted(self, query: str, report: DownloadReport) -> Iterator[Hit]:
        """Yield the first hits of a query that are not left out, at most ``limit``."""
        taken = accessible = 0
        expected = self.limit
        for page in self._pages(query):
            accessible = max(accessible, page.accessible)
            report.expect(min(self.limit, accessible) - expected)
            expected = min(self.limit, accessible)
            for facts in page.hits:
                if taken == self.limit:
                    break
                hit = read_hit(facts, self.size, query)
                flag = hit.flag(self.leave_out) if hit else "hit of another form"
                if hit is None or flag is not None:
                    report.leave_out(str(flag), hit.id if hit else 0)
                    continue
                taken += 1
                yield hit
            if taken == self.limit:
                break
        report.expect(taken - expected)
        report.finish_query(query, accessible, taken)

    def _kept(self, query: str, page: int) -> dict[str, Any] | None:
        return self.client.cache.find(search_parameters(query, self.filters, page, self.per_page))

    def _pages(self, query: str) -> Iterator[Page]:
        number, last = 1, 1
        while number <= last:
            page = self.client.search(query, self.filters, number, self.per_page)
            last = math.ceil(min(page.accessible, MAX_HITS) / self.per_page)
            yield page
            number += 1
