"""Files that a run can do without: where one cannot be written, it goes on and says so."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class DiskFaults:
    """Count writes that failed; warn of the 1st, 2nd, 4th, 8th, ...

    Args:
        what: What was to be written.

    Attributes:
        count: Failures so far, in this process.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.count = 0

    @contextmanager
    def borne(self) -> Generator[None]:
        """Turn an `OSError` of the body into a count and, now and then, a warning."""
        try:
            yield
        except OSError as error:
            self.count += 1
            if self.count & (self.count - 1) == 0:
                _log.warning(
                    "%s: not written, %d times so far, the run goes on: %s",
                    self.what, self.count, error,
                )  # fmt: skip
