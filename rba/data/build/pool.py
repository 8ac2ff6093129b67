"""A function over many inputs, in worker processes, results in order and few of them waiting."""

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

import cv2

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 3  # chunks that wait for a worker or are worked on, for each worker
# What OpenBLAS, MKL and torch read when they start; workers share the cores already.
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def num_workers(wanted: int, num_inputs: int, *, fewest: int) -> int:
    """Return how many processes to use: ``wanted``, or all cores for 0; few for few inputs.

    Args:
        wanted: Processes, or 0.
        num_inputs: What there is to do.
        fewest: Inputs that a further process is worth its start.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(wanted or cores or 1, -(-num_inputs // fewest)))


def ordered_map(
    function: Callable[[T], R],
    inputs: Iterable[T],
    *,
    workers: int,
    chunk: int,
    crashed: Callable[[T], R],
) -> Iterator[R]:
    """Yield the result of each input in order; memory holds a few chunks for each worker.

    An input that ends its process (a fault of a decoder, too much memory) is tried once more by
    itself.

    Args:
        function: Picklable; each worker gets it once.
        inputs: Picklable; taken as they are needed.
        workers: Processes; 1 works in this process.
        chunk: Inputs that go to a worker at a time.
        crashed: The result of an input that ended its process twice.
    """
    if workers == 1:
        yield from _one_thread(function, inputs)
        return
    with _Pool(function, workers) as pool:
        left = iter(inputs)
        waiting = collections.deque[tuple[list[T], Future[list[R]]]]()
        while True:
            while len(waiting) < workers * _AHEAD and (tasks := list(islice(left, chunk))):
                waiting.append((tasks, pool.submit(tasks)))
            if not waiting:
                return
            tasks, future = waiting.popleft()
            try:
                results = future.result()
            except BrokenProcessPool:
                results = _one_by_one(function, tasks, crashed)
                pool.restart()
                again = [tasks for tasks, _ in waiting]
                waiting.clear()
                waiting.extend((tasks, pool.submit(tasks)) for tasks in again)
            yield from results


def _one_thread(function: Callable[[T], R], inputs: Iterable[T]) -> Iterator[R]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield from map(function, inputs)
    finally:
        cv2.setNumThreads(threads)


def _one_by_one(
    function: Callable[[T], R], tasks: Sequence[T], crashed: Callable[[T], R]
) -> list[R]:
    results: list[R] = []
    with _Pool(function, 1) as pool:
        for task in tasks:
            try:
                results += pool.submit([task]).result()
            except BrokenProcessPool:
                results.append(crashed(task))
                pool.restart()
    return results


class _Pool(Generic[T, R]):
    """Processes that know one function."""

    def __init__(self, function: Callable[[T], R], workers: int) -> None:
        self._function = function
        self._workers = workers

    def __enter__(self) -> "_Pool[T, R]":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, tasks: Sequence[T]) -> Future[list[R]]:
        """Have a worker run the function over some inputs."""
        try:
            return self._pool.submit(_work, tasks)
        except BrokenProcessPool as error:
            future = Future[list[R]]()
            future.set_exception(error)
            return future

    def restart(self) -> None:
        """Replace the processes, one of which has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._start()

    def _start(self) -> None:
        # Not fork: forking a process in which OpenCV or torch has threads may hang. The server of
        # forkserver has none, and its imports are paid for once and shared by all workers.
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            from multiprocessing import forkserver  # not there on every system

            context.set_forkserver_preload(["__main__", __name__])
            with _one_thread_each():
                forkserver.ensure_running()
        self._pool = ProcessPoolExecutor(self._workers, context, _start_worker, (self._function,))


@contextlib.contextmanager
def _one_thread_each() -> Generator[None]:
    """Have what starts here, and its children, use one thread where the user set no number."""
    unset = [name for name in _THREAD_SETTINGS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


_function: Callable[[Any], Any] | None = None


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function  # the pool's initializer has no other place
    _function = function
    cv2.setNumThreads(1)  # workers share the cores; OpenCV's threads would fight over them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent is killed: it can no longer tell its workers to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(tasks: Sequence[Any]) -> list[Any]:
    assert _function is not None
    return [_function(task) for task in tasks]
