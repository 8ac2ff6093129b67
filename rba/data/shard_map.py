"""Do something with each shard of a set, in worker processes, results in order."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rba.data.build.pool import num_workers, ordered_map
from rba.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


def map_shards(
    function: Callable[[T], R], tasks: Sequence[T], workers: int, crashed: Callable[[T], R]
) -> Iterator[R]:
    """Return an iterator over the result of each task, in the order of the tasks.

    Args:
        function: Of a module, so that worker processes find it.
        tasks: What it gets, one a shard.
        workers: Processes; 0 = as many as cores and tasks; 1 works in this process.
        crashed: The result of a task that ended its process twice.

    Raises:
        InputError: If ``workers`` is negative.
    """
    if workers < 0:
        raise InputError(f"workers={workers}; give a number of processes, or 0 for all cores")
    used = num_workers(workers, len(tasks), fewest=1)
    return ordered_map(function, tasks, workers=used, chunk=1, crashed=crashed)
