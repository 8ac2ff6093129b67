"""How long a fault of the network is waited out: growing pauses, up to a set time."""

import logging
import random
import threading
import time

from rba.data.storage.errors import StorageError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0  # seconds

_log = logging.getLogger(__name__)


class Patience:
    """Counts the time since anything came.

    Args:
        seconds: Most that may pass without anything coming;
        what: What is waited for, for messages.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self.seconds = seconds
        self.what = what
        self.failures = 0
        self._since = time.monotonic()

    def progress(self) -> None:
        """Something came: the time counts from now."""
        if self.failures:
            _log.info("%s answers again", self.what)
        self.failures = 0
        self._since = time.monotonic()

    def wait(self, error: Exception) -> None:
        """Pause after a failure, twice as long as after the one before.

        The pause differs by up to a half between processes, so that not all ask at once.

        Raises:
            StorageError: If nothing came for the set time, or the process ends.
        """
        self.require(error)
        if not threading.main_thread().is_alive():
            raise StorageError(f"{self.what} is not waited for: the process ends") from error
        if not self.failures:
            _log.warning(
                "%s does not come (%s); asking again for up to %.0f s",
                self.what, _text(error), self.seconds,
            )  # fmt: skip
        pause = min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        self.failures += 1
        time.sleep(max(0.0, min(pause, self._since + self.seconds - time.monotonic())))

    def require(self, error: Exception, grace: float = 1.0) -> None:
        """Raise if nothing came for ``grace`` times the set time.

        Raises:
            StorageError: Naming what failed, and last how.
        """
        if time.monotonic() - self._since >= grace * self.seconds:
            raise StorageError(
                f"{self.what} did not come for {grace * self.seconds:g} s "
                f"(data.storage.retry_seconds): {_text(error)}"
            ) from error


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
