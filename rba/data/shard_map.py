"""Do something with each shard, in worker processes, results in order and few of them waiting."""

import collections
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

from rba.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
_WAITING = 2  # tasks a worker has ahead


def map_shards(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Yield the result of each task, in the order of the tasks.

    Args:
        function: Of a module, so that worker processes find it.
        tasks: What it gets.
        workers: Processes; 1 works in this process.

    Raises:
        InputError: If ``workers`` is below 1.
    """
    if workers < 1:
        raise InputError(f"workers={workers}; give at least 1")
    return map(function, tasks) if workers == 1 else _in_processes(function, tasks, workers)


def _in_processes(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    left = iter(tasks)
    # spawn: forking a process in which OpenCV or torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        waiting = collections.deque[Future[R]]()
        try:
            for task in islice(left, workers * _WAITING):
                waiting.append(pool.submit(function, task))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, task) for task in islice(left, 1))
        finally:
            for future in waiting:
                future.cancel()


def _start_worker() -> None:
    cv2.setNumThreads(0)  # workers share the cores, OpenCV's threads would fight over them
