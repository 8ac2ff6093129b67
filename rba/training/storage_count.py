"""Counts the memory of tensors, real ones or ones that only pretend, while code runs."""

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class StorageCount(TorchDispatchMode):
    """Bytes of the storages alive, by kind, and the most that were alive at once.

    Each storage counts from the operation that returns it to the end of the last tensor that uses
    it. What a kernel allocates and frees inside itself is not seen.

    Args:
        shares: By kind, the share of a storage that counts; 1 where none is given.

    Attributes:
        phase: What is going on, for `peak_phase`.
        kind: Of storages that come into being and nobody has named.
        alive: Bytes by kind, now.
        peak: Bytes by kind at the moment when most were alive.
        peak_phase: The phase of that moment.
    """

    def __init__(self, shares: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.shares = dict(shares or {})
        self.phase = ""
        self.kind = "activations"
        self.alive: dict[str, float] = {}
        self.peak: dict[str, float] = {}
        self.peak_phase = ""
        self._total, self._most = 0.0, -1.0
        self._known: dict[int, _Known] = {}

    @property
    def most(self) -> float:
        """Bytes alive at once, at most."""
        return max(self._most, 0.0)

    def name(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Count tensors, made before or not, as of a kind."""
        for tensor in tensors:
            self._see(tensor)
            known = self._known[_identity(tensor)]
            self._add(known.kind, -known.bytes)
            known.kind = kind
            self._add(kind, known.bytes)

    def add(self, kind: str, size: float) -> None:
        """Count bytes that stay and are no tensor's."""
        self._add(kind, size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and look at what it returns."""
        returned = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return returned

    def _see(self, tensor: Tensor) -> None:
        key = _identity(tensor)
        if key in self._known:
            return
        storage = tensor.untyped_storage()
        gone = weakref.ref(storage, lambda _: self._forget(key))
        self._known[key] = _Known(self.kind, storage.nbytes(), gone)
        self._add(self.kind, storage.nbytes())

    def _forget(self, key: int) -> None:
        known = self._known.pop(key)
        self._add(known.kind, -known.bytes)

    def _add(self, kind: str, size: float) -> None:
        size *= self.shares.get(kind, 1.0)
        self.alive[kind] = self.alive.get(kind, 0.0) + size
        self._total += size
        if self._total > self._most:
            self._most, self.peak = self._total, dict(self.alive)
            self.peak_phase = self.phase


class _Known:
    """A storage alive."""

    def __init__(self, kind: str, size: int, gone: Any) -> None:
        self.kind, self.bytes, self.gone = kind, size, gone


def _identity(tensor: Tensor) -> int:
    """Return the address of a tensor's storage: it is used again only after the storage's end."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
