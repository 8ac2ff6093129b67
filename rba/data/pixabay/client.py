"""Searches asked once a day: answers lie on the disk for as long as the API wants them cached."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rba.data.output import OutputFolder
from rba.data.pixabay.api import CACHE_SECONDS, Filters
from rba.data.pixabay.fetch import Fetcher, FetchError
from rba.data.pixabay.limit import Clock
from rba.errors import InputError

_KEY_STATUSES = (401, 403)
_BEYOND_LAST_PAGE = '"page" is out of valid range'  # the text that status 400 comes with


@dataclasses.dataclass(frozen=True)
class Page:
    """One answer.

    Attributes:
        hits: As answered, in the order of the search.
        accessible: How many hits all pages of this search give (``totalHits``).
    """

    hits: tuple[Any, ...]
    accessible: int


class AnswerCache:
    """Answers by their request, without the key, in one file each.

    Args:
        folder: Where; made when the first answer is kept.
        clock: Time.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._files = OutputFolder(folder)
        self.clock = clock

    def find(self, parameters: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the answer to a request if it is younger than a day."""
        try:
            kept = json.loads(self._path(parameters).read_bytes())
            age = self.clock.now() - kept["asked_at"]
            return kept["answer"] if 0 <= age < CACHE_SECONDS else None
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # never asked, or not a file of ours: ask

    def keep(self, parameters: Mapping[str, str], answer: Mapping[str, Any]) -> None:
        """Store an answer."""
        kept = {"asked_at": self.clock.now(), "request": dict(parameters), "answer": answer}
        self._files.write(self._path(parameters).name, json.dumps(kept).encode())

    def _path(self, parameters: Mapping[str, str]) -> Path:
        text = json.dumps(dict(sorted(parameters.items())))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class PixabayClient:
    """Ask the API.

    Args:
        fetcher: Sends requests; knows the key.
        base_url: Of the API.
        cache: Where answers lie.
    """

    def __init__(self, fetcher: Fetcher, base_url: str, cache: AnswerCache) -> None:
        self.fetcher = fetcher
        self.base_url = base_url
        self.cache = cache
        self.num_requests = 0

    def search(self, query: str, filters: Filters, page: int, per_page: int) -> Page:
        """Return one page of a search; an empty one beyond the last.

        Args:
            query: At most 100 characters; empty = all pictures that pass the filters.
            filters: Which pictures.
            page: From 1.
            per_page: 3 to 200.

        Raises:
            InputError: If the API refuses the key.
            FetchError: If it refuses the request or does not answer.
        """
        parameters = search_parameters(query, filters, page, per_page)
        try:
            answer = self._ask(parameters)
        except FetchError as error:
            if error.status == 400 and _BEYOND_LAST_PAGE in error.detail:
                return Page(hits=(), accessible=0)
            raise
        return Page(hits=tuple(answer["hits"]), accessible=answer["totalHits"])

    def look_up(self, number: int) -> Mapping[str, Any] | None:
        """Return the hit of one picture with fresh URLs; None if it is gone.

        Raises:
            InputError: If the API refuses the key.
            FetchError: If it does not answer.
        """
        try:
            hits = self._ask({"id": str(number)})["hits"]
        except FetchError as error:
            if error.status in (400, 404):
                return None
            raise
        return next(
            (hit for hit in hits if isinstance(hit, dict) and hit.get("id") == number), None
        )

    def _ask(self, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self.cache.find(parameters)
        if answer is not None:
            return answer
        key = self.fetcher.secret.value
        self.num_requests += 1
        try:
            answer = self.fetcher.get(self.base_url, self._read, {"key": key, **parameters})
        except FetchError as error:
            if error.status in _KEY_STATUSES or "api key" in error.detail.lower():
                raise InputError(
                    f"Pixabay refuses the key in PIXABAY_API_KEY (status {error.status}: "
                    f"{error.detail}); your key is shown at https://pixabay.com/api/docs/"
                ) from None
            raise
        self.cache.keep(parameters, answer)
        return answer

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            # An answer that repeats the request must not bring the key onto the disk.
            answer = json.loads(self.fetcher.secret.hide(body.decode()))
        except ValueError:
            raise FetchError("answer is no JSON", temporary=True) from None
        known = isinstance(answer, dict) and isinstance(answer.get("hits"), list)
        if not known or type(answer.get("totalHits")) is not int:
            raise FetchError("answer of another form", temporary=True)
        return answer


def require_base_url(url: str) -> str:
    """Return the API's address if the key may go there.

    Raises:
        InputError: If it is no address, or would send the key unencrypted to another machine.
    """
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or not (parts.scheme == "https" or (local and parts.scheme == "http")):
        raise InputError(f"base_url={url}; give an https address: the key is sent there")
    return url


def search_parameters(query: str, filters: Filters, page: int, per_page: int) -> dict[str, str]:
    """Return the parameters of a search without the key."""
    text = {"q": query} if query else {}
    return {**text, **filters.parameters(), "page": str(page), "per_page": str(per_page)}
