"""Run one thing at a time in a thread, on a copy of a run's state in main memory."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor


def main_memory_copy(tree: Any) -> Any:
    """Copy nested containers; tensors go to main memory and share none with the originals."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: main_memory_copy(value) for key, value in tree.items()}  # pyright: ignore
    if isinstance(tree, (list, tuple)):
        copies: list[Any] = [main_memory_copy(value) for value in tree]  # pyright: ignore
        return copies if isinstance(tree, list) else tuple(copies)
    return tree


def tensor_bytes(tree: Any) -> int:
    """Return the size of all tensors in nested containers."""
    if isinstance(tree, Tensor):
        return tree.nbytes
    if isinstance(tree, dict):
        tree = list(tree.values())  # pyright: ignore
    return sum(map(tensor_bytes, tree)) if isinstance(tree, (list, tuple)) else 0  # pyright: ignore


def available_memory() -> float:
    """Return the bytes that the system says are to be had; infinite where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return 1024.0 * int(kibibytes)


class Background:
    """One thread; what is left to do at the interpreter's end is still done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[str | None] | None = None

    def start(self, work: Callable[[], str | None]) -> None:
        """Begin; what was begun before must have been settled."""
        assert self._running is None
        self._running = self._pool.submit(work)

    def settle(self) -> str | None:
        """Wait for the end; return what the work returned, once."""
        running, self._running = self._running, None
        return None if running is None else running.result()
