"""The folder of a shard set, on this machine or behind a URL: its manifest, and paths to open."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rba.data.sample import RecordError
from rba.data.storage.cache import CachedFile, FileCache
from rba.data.storage.download import Downloader
from rba.data.storage.errors import NoAnswerError, StorageError
from rba.data.storage.location import refuse_compressed
from rba.data.storage.patience import Patience
from rba.data.storage.prefetch import Prefetcher
from rba.data.storage.remote_files import RemoteFiles
from rba.data.storage.settings import StorageSettings
from rba.data.writer import MANIFEST_NAME, ShardEntry, index_path
from rba.errors import InputError

_START_SECONDS = 10.0  # a server that is away at the start is most often a mistyped URL


class ShardFolder(Protocol):
    """What a shard set asks of the folder that it lies in."""

    @property
    def name(self) -> str:
        """The folder's own name."""
        ...

    def manifest(self) -> bytes:
        """Return the manifest's bytes.

        Raises:
            InputError: If there is none, or the folder cannot be reached.
        """
        ...

    def check(self, entries: Sequence[ShardEntry]) -> None:
        """Compare the tars with what the manifest says, as far as that costs little.

        Raises:
            InputError: Naming a tar that is missing or of another size.
        """
        ...

    def place(self, name: str) -> str:
        """Return what tells a file from all others: its path, links resolved, or its URL."""
        ...

    def paths(self, entry: ShardEntry) -> tuple[Path, Path]:
        """Return where a tar and its index can be opened now.

        Raises:
            RecordError: If the tar or its index is missing or changed.
            StorageError: If the network failed for too long.
        """
        ...

    def will_need(self, entries: Sequence[ShardEntry]) -> None:
        """Prepare for shards that are going to be read, the first one first."""
        ...


class LocalFolder:
    """A folder of this machine, or one that it has mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's own name, links resolved."""
        return self.path.resolve().name

    def manifest(self) -> bytes:
        """See `ShardFolder`."""
        path = self.path / MANIFEST_NAME
        if not path.is_file():
            refuse_compressed(sorted(os.listdir(self.path)), self.path)
            raise missing_manifest(str(self.path))
        return path.read_bytes()

    def check(self, entries: Sequence[ShardEntry]) -> None:
        """See `ShardFolder`; compares the sizes of all tars."""
        for entry in entries:
            path = self.path / entry.name
            for needed in (path, index_path(path)):
                if not needed.is_file():
                    raise InputError(
                        f"{needed} is listed in the manifest but missing; restore it or build again"
                    )
                if not os.access(needed, os.R_OK, effective_ids=True):
                    raise InputError(f"{needed} cannot be read; change its permissions")
            if path.stat().st_size != entry.bytes:
                raise _size_refusal(str(path), path.stat().st_size, entry)

    def place(self, name: str) -> str:
        """See `ShardFolder`."""
        return str((self.path / name).resolve())

    def paths(self, entry: ShardEntry) -> tuple[Path, Path]:
        """See `ShardFolder`."""
        path = self.path / entry.name
        if not path.exists() or not index_path(path).exists():
            if (self.path / MANIFEST_NAME).exists():
                raise RecordError("the shard or its index is missing", str(path))
            raise NoAnswerError(f"{self.path} is away")  # a mount, not one shard
        return path, index_path(path)

    def will_need(self, entries: Sequence[ShardEntry]) -> None:
        """See `ShardFolder`; the file system reads ahead by itself."""


class RemoteFolder:
    """A folder behind a URL, whose shards are read from a cache of whole files.

    Args:
        url: Without a slash at its end.
        settings: Of the cache.

    Raises:
        InputError: If the protocol is unknown, or the cache cannot be used.
    """

    def __init__(self, url: str, settings: StorageSettings) -> None:
        self.url = url
        self.settings = settings
        self.files = RemoteFiles(url, settings.timeout_seconds)
        self.cache = FileCache(settings.cache_path, settings.cache_bytes)
        self.bytes_ahead = settings.cache_bytes
        self._manifest_sha256 = ""
        self._prefetcher: tuple[int, Prefetcher] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_prefetcher": None}

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def manifest(self) -> bytes:
        """See `ShardFolder`."""
        seconds = min(_START_SECONDS, self.settings.retry_seconds)
        patience = Patience(seconds, f"{self.url}/{MANIFEST_NAME}")
        while True:
            try:
                data = self.files.read(MANIFEST_NAME)
                break
            except FileNotFoundError as error:
                raise missing_manifest(self.url) from error
            except NoAnswerError as error:
                try:
                    patience.wait(error)
                except StorageError:
                    raise InputError(f"shards={self.url} cannot be read: {error}") from error
        self._manifest_sha256 = hashlib.sha256(data).hexdigest()
        return data

    def check(self, entries: Sequence[ShardEntry]) -> None:
        """See `ShardFolder`; a server of http is asked for 256 of the sizes."""
        largest = max(entry.bytes for entry in entries)
        if largest > self.settings.cache_bytes:
            raise InputError(
                f"data.storage.cache_gigabytes={self.settings.cache_gigabytes:g} is smaller than "
                f"one shard of {self.url} ({largest / 1e9:.3g}); set it to the size of some windows"
            )
        try:
            sizes = self.files.sizes([entry.name for entry in entries])
        except NoAnswerError as error:
            raise InputError(f"shards={self.url} cannot be listed: {error}") from error
        for entry in entries:
            size = sizes.get(entry.name, entry.bytes)
            if size is None:
                raise InputError(
                    f"{self.url}/{entry.name} is listed in the manifest but missing; restore it or "
                    "build again"
                )
            if size != entry.bytes:
                raise _size_refusal(f"{self.url}/{entry.name}", size, entry)

    def place(self, name: str) -> str:
        """See `ShardFolder`."""
        return f"{self.url}/{name}"

    def paths(self, entry: ShardEntry) -> tuple[Path, Path]:
        """See `ShardFolder`; waits until both are in the cache."""
        tar, index = (self._downloader.obtain(file) for file in _files_of(entry))
        assert tar is not None
        assert index is not None
        return tar, index

    def will_need(self, entries: Sequence[ShardEntry]) -> None:
        """See `ShardFolder`; downloads as much as there is room for."""
        files = list[CachedFile]()
        room = self.bytes_ahead
        for entry in entries:
            room -= entry.bytes
            if room < 0:
                break
            files += _files_of(entry)
        if self._prefetcher is None or self._prefetcher[0] != os.getpid():  # no fork has threads
            fetch = functools.partial(self._downloader.obtain, wait=False)
            self._prefetcher = os.getpid(), Prefetcher(fetch, self.settings.downloads)
        # What is there is marked as used before anything that comes may push it out.
        self._prefetcher[1].want([file for file in files if self.cache.find(file) is None])

    @functools.cached_property
    def _downloader(self) -> Downloader:
        return Downloader(
            self.files, self.cache, self._manifest_sha256, self.settings.retry_seconds
        )


def _files_of(entry: ShardEntry) -> tuple[CachedFile, CachedFile]:
    index = index_path(Path(entry.name)).name
    return (
        CachedFile(entry.name, entry.sha256, entry.bytes),
        CachedFile(index, entry.index_sha256, None),
    )


def _size_refusal(where: str, size: int, entry: ShardEntry) -> InputError:
    return InputError(
        f"{where} has {size} bytes, its manifest says {entry.bytes}; copy it again or build again"
    )


def missing_manifest(folder: str) -> InputError:
    """Return the refusal of a folder that is no finished set of shards."""
    return InputError(
        f"{folder} has no {MANIFEST_NAME}, so it is not a finished set of shards; build one "
        "with data_tools/build_alignment_shards.py or data_tools/build_refinement_shards.py, "
        "or index tars of others with data_tools/index_shards.py"
    )
