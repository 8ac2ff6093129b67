"""Bring one file of a remote folder into the cache: in pieces, going on after a break, checked."""

import errno
import hashlib
from pathlib import Path

from rba.data.sample import RecordError
from rba.data.storage.cache import CachedFile, FileCache
from rba.data.storage.errors import NoAnswerError, StorageError
from rba.data.storage.patience import Patience
from rba.data.storage.remote_files import RemoteFiles
from rba.data.writer import MANIFEST_NAME

_PIECE = 8 * 2**20  # bytes that a break can cost
_SURE = 3  # answers in a row that a file is missing or of another size, until it is believed
_MISSING = "the shard or its index is missing"
_WRONG = "the shard or its index is not what its manifest says"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Downloader:
    """Brings files of one remote folder into a cache. Travels to other processes.

    Args:
        files: The folder.
        cache: Where files go.
        manifest_sha256: Digest of the manifest that named the files. Before a file is believed to
            be missing or changed, this manifest must still be there: else it is the folder that is
            away or replaced, which is no fault of one shard.
        retry_seconds: See `StorageSettings`.
    """

    def __init__(
        self, files: RemoteFiles, cache: FileCache, manifest_sha256: str, retry_seconds: float
    ) -> None:
        self.files = files
        self.cache = cache
        self.manifest_sha256 = manifest_sha256
        self.retry_seconds = retry_seconds

    def obtain(self, file: CachedFile, *, wait: bool = True) -> Path | None:
        """Return where a file lies in the cache, downloaded if it is not there yet.

        Args:
            file: The file.
            wait: Wait for another process that is downloading it; else return None then.

        Raises:
            RecordError: If the file is missing, of another size, or comes twice with other bytes
                than its digest says: a fault of the bytes themselves.
            StorageError: If nothing came for the set time, or the disk is full.
        """
        patience = Patience(self.retry_seconds, f"{self.files.url}/{file.name}")
        try:
            path = self.cache.find(file)
            if path is not None:
                return path
            with self.cache.writing(file, patience if wait else None) as held:
                return (self.cache.find(file) or self._download(file, patience)) if held else None
        except OSError as error:
            if error.errno in _FULL:
                raise StorageError(
                    f"{self.cache.folder}: the disk is full; free space, or set a smaller "
                    "data.storage.cache_gigabytes"
                ) from error
            raise StorageError(f"{self.cache.folder} cannot be written: {error}") from error

    def _download(self, file: CachedFile, patience: Patience) -> Path:
        reason = self.cache.known_bad(file)
        if reason is not None:
            raise RecordError(_WRONG, reason)
        for _ in range(2):
            self.cache.set_aside(file)
            found = self._pieces(file, patience) if file.size else self._whole(file, patience)
            if found == file.sha256:
                return self.cache.publish(file)
            self.cache.drop(file)
            reason = f"{file.name} has sha256 {found}, not {file.sha256}"
            patience.progress()
        assert reason is not None
        self.cache.mark_bad(file, reason)
        raise RecordError(_WRONG, reason)

    def _whole(self, file: CachedFile, patience: Patience) -> str:
        """Download a file in one piece; return its digest."""
        suspicion = _Suspicion(self, file)
        while True:
            try:
                data = self.files.read(file.name)
                break
            except FileNotFoundError as error:
                suspicion.add(_MISSING, file.name)
                patience.wait(error)
            except NoAnswerError as error:
                patience.wait(error)
        self.cache.partial(file).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def _pieces(self, file: CachedFile, patience: Patience) -> str:
        """Download what is missing of a file; return the digest of the whole."""
        assert file.size is not None
        suspicion = _Suspicion(self, file)
        with open(self.cache.partial(file), "r+b") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            while (start := stream.tell()) < file.size:
                stop = min(start + _PIECE, file.size)
                try:
                    data = self.files.read_range(file.name, start, stop)
                    if len(data) > stop - start:  # the server knows no ranges
                        data = data[start:]
                    if not data or start + len(data) > file.size:
                        raise NoAnswerError(f"no byte behind {start} of {file.size}")
                except FileNotFoundError as error:
                    suspicion.add(_MISSING, file.name)
                    patience.wait(error)
                except NoAnswerError as error:
                    size = self.files.size(file.name)
                    if size not in (None, file.size):
                        detail = f"{file.name} has {size} bytes, not {file.size}"
                        suspicion.add("the shard is not of the manifest's size", detail)
                    patience.wait(error)
                else:
                    stream.write(data)
                    stream.flush()  # so that others see that it comes
                    digest.update(data)
                    patience.progress()
                    suspicion.clear()
        return digest.hexdigest()


class _Suspicion:
    """Counts the answers that one file is missing or changed, until that is sure."""

    def __init__(self, downloader: Downloader, file: CachedFile) -> None:
        self.downloader = downloader
        self.file = file
        self.count = 0

    def clear(self) -> None:
        """The file is there after all."""
        self.count = 0

    def add(self, reason: str, detail: str) -> None:
        """Take note of one such answer.

        Raises:
            RecordError: If it is the third in a row, and the manifest is there as it was.
        """
        self.count += 1
        if self.count < _SURE:
            return
        try:
            manifest = self.downloader.files.read(MANIFEST_NAME)
        except OSError:
            return  # the whole folder is away
        if hashlib.sha256(manifest).hexdigest() == self.downloader.manifest_sha256:
            self.downloader.cache.drop(self.file)
            raise RecordError(reason, detail)
