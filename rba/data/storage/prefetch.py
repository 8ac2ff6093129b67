"""Files that will be needed, brought in the background, in the order in which they are wanted."""

import collections
import logging
import threading
from collections.abc import Callable, Sequence

from rba.data.sample import RecordError
from rba.data.storage.cache import CachedFile
from rba.data.storage.errors import StorageError

_log = logging.getLogger(__name__)


class Prefetcher:
    """Threads of one process that fetch what is wanted.

    Args:
        fetch: Brings a file, or marks it as used where it is there; called in the threads.
        num_threads: How many fetch at once.
    """

    def __init__(self, fetch: Callable[[CachedFile], object], num_threads: int) -> None:
        self._fetch = fetch
        self._num_threads = num_threads
        self._queue: collections.deque[CachedFile] = collections.deque()
        self._changed = threading.Condition()
        self._started = False

    def want(self, files: Sequence[CachedFile]) -> None:
        """Fetch these files, the first one first, instead of what was wanted before."""
        with self._changed:
            self._queue = collections.deque(files)
            self._changed.notify_all()
        if not self._started:
            self._started = True
            for _ in range(self._num_threads):
                # Daemons: a process that ends does not wait for a network that is away.
                threading.Thread(target=self._run, name="shard prefetch", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                file = self._queue.popleft()
            try:
                self._fetch(file)
            except (StorageError, RecordError) as error:
                # Whoever reads the file meets the fault again, and knows what to do about it.
                _log.debug("%s was not fetched ahead: %s", file.name, error)
