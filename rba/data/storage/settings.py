"""Settings of reading shards: the cache of remote ones, and how long a fault is waited out."""

import dataclasses
import os
from pathlib import Path

from rba.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """How shards are read that do not lie on this machine.

    Attributes:
        cache_folder: Where whole remote shards are kept, shared by any number of processes and
            runs of one machine; None: ``refine-by-align/shards`` in ``$XDG_CACHE_HOME`` or
            ``~/.cache``.
        cache_gigabytes: Most that the cache may hold, in 10**9 bytes.
        downloads: Shards that one process downloads at once, ahead of the order.
        retry_seconds: A read is tried again, with growing pauses, until nothing has come for so
            long. Below half of ``trainer.process_group_timeout``, for which other ranks wait.
        timeout_seconds: A server that is silent for so long is asked again (http).

    Raises:
        InputError: If a number is out of bounds.
    """

    cache_folder: str | None = None
    cache_gigabytes: float = 50.0
    downloads: int = 2
    retry_seconds: float = 300.0
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.downloads < 1:
            raise InputError(f"data.storage.downloads={self.downloads}; give at least 1")
        for name in ("cache_gigabytes", "retry_seconds", "timeout_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"data.storage.{name}={getattr(self, name)}; give more than 0")

    @property
    def cache_bytes(self) -> int:
        """Most that the cache may hold."""
        return int(self.cache_gigabytes * 1e9)

    @property
    def cache_path(self) -> Path:
        """Where the cache lies."""
        if self.cache_folder is not None:
            return Path(self.cache_folder).expanduser()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "refine-by-align" / "shards"
