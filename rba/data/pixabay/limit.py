"""Requests let through as the server allows them, over all threads."""

import collections
import threading
import time
from collections.abc import Mapping

from tqdm import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

_TOLD_SECONDS = 5.0


class StoppedError(Exception):
    """The download ends while this thread waits."""


class Clock:
    """Time as the downloader sees it; tests give one that does not wait."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Return the time of day in seconds since 1970."""
        return time.time()

    def elapsed(self) -> float:
        """Return seconds that only ever grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            StoppedError: If `stop` is called meanwhile or was called before.
        """
        if self._stopped.wait(max(seconds, 0.0)):
            raise StoppedError

    def stop(self) -> None:
        """Wake all threads that wait, so that they end."""
        self._stopped.set()


class RateLimit:
    """Hold requests back while the server's window is full or it asked for a pause.

    Args:
        clock: Time.
        requests: At most so many a window; the server's own limit holds where it is lower.
            None = only pauses that the server asks for.
        seconds: Length of the window.
    """

    def __init__(self, clock: Clock, requests: int | None, seconds: float) -> None:
        self.clock = clock
        self.requests = requests
        self.seconds = seconds
        self._sent: collections.deque[float] = collections.deque()
        self._blocked_until = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may be sent, and count it."""
        while (delay := self._try_to_pass()) > 0:
            # Never less than a millisecond: smaller steps may not move a large clock at all.
            self.clock.sleep(max(delay, 1e-3))

    def seconds_for(self, num_requests: int) -> float:
        """Return how long so many requests take at least."""
        if self.requests is None:
            return 0.0
        return max(0, num_requests - 1) // self.requests * self.seconds

    def block(self, seconds: float) -> None:
        """Let nothing through for so long."""
        with self._lock:
            until = self.clock.elapsed() + seconds
            longer = until - max(self._blocked_until, self.clock.elapsed())
            self._blocked_until = max(self._blocked_until, until)
        if longer >= _TOLD_SECONDS:
            tqdm.write(f"the server asks to wait {seconds:.0f} seconds")

    def heed(self, headers: Mapping[str, str]) -> None:
        """Take over what the headers of an answer say about the limit."""
        limit, left = (
            _number(headers, "X-RateLimit-Limit"),
            _number(headers, "X-RateLimit-Remaining"),
        )
        if limit and self.requests is not None:
            with self._lock:
                self.requests = max(1, min(self.requests, int(limit)))
        if left == 0:
            self.block(asked_pause(headers) or self.seconds)

    def _try_to_pass(self) -> float:
        """Count a request and return 0, or return the seconds to wait."""
        with self._lock:
            now = self.clock.elapsed()
            delay = self._blocked_until - now
            if self.requests is not None:
                while self._sent and self._sent[0] <= now - self.seconds:
                    self._sent.popleft()
                if len(self._sent) >= self.requests:
                    delay = max(delay, self._sent[0] + self.seconds - now)
            if delay > 0:
                return delay
            if self.requests is not None:
                self._sent.append(now)
            return 0.0


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait: Retry-After, or when the window ends."""
    given = headers.get("Retry-After")
    if given is not None:
        try:
            return Retry().parse_retry_after(given)
        except InvalidHeader:
            return _number(headers, "X-RateLimit-Reset")
    return _number(headers, "X-RateLimit-Reset")


def _number(headers: Mapping[str, str], name: str) -> float | None:
    text = headers.get(name, "").strip()
    return float(text) if text.isascii() and text.isdigit() else None
