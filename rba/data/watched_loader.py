"""A data loader whose dead workers end the run between two steps, with what killed them."""

import contextlib
import signal
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from rba.data.batch_memory import BatchMemory
from rba.errors import RunStoppedError

T = TypeVar("T", covariant=True)

_MEMORY = "the machine's memory ran out; give fewer data.num_workers or a smaller data.prefetch"
_CAUSES = {
    signal.SIGKILL: f"most likely {_MEMORY}",
    signal.SIGBUS: "a shard was cut off while it was read, or shared memory (/dev/shm) is full",
    signal.SIGSEGV: "a decoder crashed",
    signal.SIGTERM: "something asked it to end",
}


class DeadWorkerError(RunStoppedError):
    """A loader worker was killed, crashed or ran out of memory."""


class WatchedLoader(DataLoader[T]):
    """`DataLoader` that names dead workers, and only while a batch is waited for.

    torch raises out of a signal's handler, wherever the process is: in the middle of the
    optimiser's step, which would leave weights of no step. Here a worker that dies in the meantime
    is found when the next batch is asked for.

    Attributes:
        seconds_waited: How long batches have been waited for, all together.
        memory: Through which the workers hand batches over, if ``collate_fn`` packs into it.
    """

    seconds_waited: float = 0.0
    memory: BatchMemory | None = None

    def __iter__(self) -> Any:
        """Return the iterator; items may raise `DeadWorkerError`."""
        inner: Any = super().__iter__()
        if self.num_workers:
            _hold_torch_back()
            if self.memory is not None:
                self.memory.keep({worker.pid for worker in inner._workers})
            inner = _WatchedIterator(inner)
        return _TimedIterator(inner, self)


class _TimedIterator(Iterator[Any]):
    def __init__(self, inner: Iterator[Any], loader: WatchedLoader[Any]) -> None:
        self._inner = inner
        self._loader = loader

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            return next(self._inner)
        finally:
            self._loader.seconds_waited += time.perf_counter() - start


class _WatchedIterator(Iterator[Any]):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __next__(self) -> Any:
        try:
            self._require_alive()
            with _may_raise():
                return next(self._inner)
        except StopIteration:
            raise
        except MemoryError as error:
            self._end_workers()
            raise DeadWorkerError(f"a loader worker{_rank()} failed: {_MEMORY}") from error
        except Exception as error:
            try:
                self._require_alive(error)  # torch's own error of a dead worker names no cause
            finally:
                self._end_workers()
            raise

    def _require_alive(self, cause: Exception | None = None) -> None:
        workers = self._inner._workers
        for number, worker in enumerate(workers):
            if worker.exitcode:
                raise DeadWorkerError(
                    f"loader worker {number} of {len(workers)} (process {worker.pid}{_rank()}) "
                    f"{_describe(worker.exitcode)}; resume=auto goes on from the last checkpoint"
                ) from cause

    def _end_workers(self) -> None:
        """The run ends: do not let each worker be waited for, which may hold another's lock."""
        for worker in self._inner._workers:
            worker.terminate()


def _describe(exitcode: int) -> str:
    """Say what an exit code means: below 0 the number of a signal."""
    if exitcode > 0:
        return f"left with status {exitcode}"
    killer = signal.Signals(-exitcode)
    cause = _CAUSES.get(killer)
    return f"was killed by {killer.name}" + (f": {cause}" if cause else "")


def _rank() -> str:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return f" of rank {distributed.get_rank()}"
    return ""


_waiting = threading.Event()  # the main process waits for a batch


@contextlib.contextmanager
def _may_raise() -> Generator[None]:
    _waiting.set()
    try:
        yield
    finally:
        _waiting.clear()


class _HeldBack:
    """torch's handler of dying workers, called only while a batch is waited for."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def __call__(self, signum: int, frame: Any) -> None:
        if _waiting.is_set():
            self.handler(signum, frame)


def _hold_torch_back() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    main = threading.current_thread() is threading.main_thread()
    if main and callable(handler) and not isinstance(handler, _HeldBack):
        signal.signal(signal.SIGCHLD, _HeldBack(handler))
