"""One request, tried again until its answer is whole and usable; the key in no message."""

import contextlib
import logging
import os
import random
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_plus

import requests
from requests.adapters import HTTPAdapter

from rba.data.pixabay.limit import RateLimit, asked_pause
from rba.errors import InputError

KEY_NAME = "PIXABAY_API_KEY"
_FIRST_BACKOFF = 1.0  # seconds; doubled at each further attempt
_LONGEST_BACKOFF = 60.0
_DETAIL_LENGTH = 200

T = TypeVar("T")


class FetchError(Exception):
    """A request failed; the message is the reason it is counted under.

    Args:
        reason: Few words, the same for the same kind of fault.
        detail: What the server wrote.
        status: HTTP status, where there was an answer.
        temporary: Another attempt may succeed.
    """

    def __init__(
        self, reason: str, *, detail: str = "", status: int = 0, temporary: bool = False
    ) -> None:
        super().__init__(reason)
        self.detail = " ".join(detail.split())[:_DETAIL_LENGTH]
        self.status = status
        self.temporary = temporary


class Secret:
    """The key, and how to take it out of a text."""

    def __init__(self, value: str) -> None:
        self.value = value
        self._forms = sorted({value, quote(value, safe=""), quote_plus(value)} - {""}, key=len)

    def __repr__(self) -> str:
        return "Secret(***)"

    def hide(self, text: str) -> str:
        """Return the text with ``***`` in place of the key, however it is encoded."""
        for form in reversed(self._forms):
            text = text.replace(form, "***")
        return text

    @contextlib.contextmanager
    def hidden_from_logs(self) -> Generator[None]:
        """Take the key out of what the HTTP library logs: it writes whole URLs."""

        def rewrite(record: logging.LogRecord) -> bool:
            record.msg, record.args = self.hide(record.getMessage()), ()
            return True

        loggers = [logging.getLogger(name) for name in ("urllib3.connectionpool", "urllib3.util")]
        for logger in loggers:
            logger.addFilter(rewrite)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(rewrite)


def read_key(*, required: bool = True) -> Secret:
    """Return the key from the environment; an empty one where it may be missing.

    Raises:
        InputError: If it is missing or has characters that no key has.
    """
    value = os.environ.get(KEY_NAME, "").strip()
    if not value and required:
        raise InputError(
            f"{KEY_NAME} is not set; copy your key from https://pixabay.com/api/docs/ (shown after "
            f"a login) and give: export {KEY_NAME}=KEY"
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(f"{KEY_NAME} holds a space or a character that no key has; copy it again")
    return Secret(value)


def open_session(connections: int) -> requests.Session:
    """Return a session whose threads each keep a connection; proxies as the environment says."""
    session = requests.Session()
    session.headers["User-Agent"] = "refine-by-align (data_tools/download_pixabay.py)"
    adapter = HTTPAdapter(pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Fetcher:
    """Get bodies, with back-off and jitter, within a limit.

    The library's own retries are off: they would log the URL with the key, know neither the limit
    that the threads share nor whether a body can be decoded.

    Args:
        session: Where requests go out.
        limit: Lets them through; knows the time.
        secret: What no message may show.
        retries: Further attempts after the first.
        timeout: Seconds without a byte that end an attempt.
    """

    def __init__(
        self,
        session: requests.Session,
        limit: RateLimit,
        *,
        secret: Secret,
        retries: int,
        timeout: float,
    ) -> None:
        self.session = session
        self.limit = limit
        self.clock = limit.clock
        self.secret = secret
        self.retries = retries
        self.timeout = timeout

    def get(
        self, url: str, read: Callable[[bytes], T], parameters: Mapping[str, str] | None = None
    ) -> T:
        """Return what ``read`` makes of the body.

        Args:
            url: Of http or https.
            read: Raises `FetchError` where the body cannot be used.
            parameters: Of the query string.

        Raises:
            FetchError: Of the last attempt, or the first one that is not temporary.
        """
        attempt = 0
        while True:
            self.limit.wait()
            try:
                return read(self._body(url, parameters))
            except FetchError as error:
                if not error.temporary or attempt == self.retries:
                    raise
            backoff = min(_FIRST_BACKOFF * 2**attempt, _LONGEST_BACKOFF)
            self.clock.sleep(backoff * random.uniform(0.5, 1.0))
            attempt += 1

    def _body(self, url: str, parameters: Mapping[str, str] | None) -> bytes:
        try:
            answer = self.session.get(url, params=parameters, timeout=self.timeout)
        # "from None": the library's messages hold the URL with the key.
        except requests.Timeout:
            raise FetchError("timed out", temporary=True) from None
        except (
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ):
            raise FetchError("truncated", temporary=True) from None
        except requests.ConnectionError:
            raise FetchError("connection failed", temporary=True) from None
        except requests.RequestException as error:
            raise FetchError(f"no request: {type(error).__name__}") from None
        self.limit.heed(answer.headers)
        if answer.status_code == requests.codes.ok:
            return answer.content
        raise self._refusal(answer)

    def _refusal(self, answer: requests.Response) -> FetchError:
        status = answer.status_code
        crowded = status == requests.codes.too_many_requests
        pause = asked_pause(answer.headers) if crowded or "Retry-After" in answer.headers else None
        if crowded or pause is not None:
            self.limit.block(self.limit.seconds if pause is None else pause)
        return FetchError(
            f"status {status}",
            detail=self.secret.hide(answer.content.decode(errors="replace")),
            status=status,
            temporary=crowded or status == requests.codes.request_timeout or status >= 500,
        )
