"""A folder of whole files by their digest, shared by processes and bounded in size.

A file has one of two names: ``DIGEST.SUFFIX`` when it is whole, and ``DIGEST.SIZE.partial`` while
it comes, with the size that it is going to have and that is set aside for it. Whoever writes
``DIGEST`` holds its lock. A whole file may be removed at any time: a process that has it open reads
on (POSIX), one that has not downloads it again.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from rba.data.storage.errors import NoAnswerError
from rba.data.storage.patience import Patience
from rba.errors import InputError

_BAD_SECONDS = 3600.0  # a file that came twice with a wrong digest is not asked for again so long
_LOOK = 0.5  # seconds between two looks at what another process downloads
_PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True)
class CachedFile:
    """A file that the cache may hold.

    Attributes:
        name: Its name in its folder, for messages; the suffix is kept.
        sha256: Its digest.
        size: In bytes, None where not known before it is there.
    """

    name: str
    sha256: str
    size: int | None


class FileCache:
    """The cache.

    Args:
        folder: Made if missing.
        limit: Most bytes; files in flight count with the size that they are going to have.

    Raises:
        InputError: If the folder cannot be made, listed or written.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
            os.listdir(folder)
            with self._room():
                pass
        except OSError as error:
            raise InputError(
                f"data.storage.cache_folder={folder} cannot be used: {error.strerror or error}; "
                "give a folder that can be read and written"
            ) from error

    def find(self, file: CachedFile) -> Path | None:
        """Return where a whole file lies and mark it as used, None where it is not there."""
        path = self._whole(file)
        try:
            size = path.stat().st_size
            if file.size is not None and size != file.size:
                path.unlink()  # cut by whatever befell the disk
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    @contextlib.contextmanager
    def writing(self, file: CachedFile, patience: Patience | None) -> Generator[bool]:
        """Hold the right to write a file, alone of all processes.

        Args:
            file: The file.
            patience: How long to wait for another process that holds it without a byte coming;
                None does not wait.

        Yields:
            Whether the right is held; always, if ``patience`` is given.

        Raises:
            StorageError: If patience ran out.
        """
        lock = FileLock(self.folder / "locks" / f"{file.sha256}.lock")
        seen = self.bytes_so_far(file)
        while not _acquired(lock, _LOOK if patience else 0.0):
            if patience is None:
                yield False
                return
            now = self.bytes_so_far(file)
            if now != seen:
                patience.progress()
            seen = now
            # Whoever holds it gives up after the set time, and frees it for one more try.
            patience.require(NoAnswerError("another process holds it and gets nothing"), grace=2)
        try:
            yield True
        finally:
            lock.release()

    def partial(self, file: CachedFile) -> Path:
        """Return where a file is written while it comes."""
        return self.folder / f"{file.sha256}.{file.size or 0}{_PARTIAL}"

    def bytes_so_far(self, file: CachedFile) -> int:
        """Return how much of a file has come."""
        try:
            return self.partial(file).stat().st_size
        except FileNotFoundError:
            return 0

    def set_aside(self, file: CachedFile) -> Path:
        """Make room for a file and return its partial path, which exists then.

        The least recently used files go first. Only files in flight may exceed the limit.
        """
        partial = self.partial(file)
        with self._room():
            if not partial.exists():
                self._evict(self.limit - (file.size or 0))
                partial.touch()
        return partial

    def publish(self, file: CachedFile) -> Path:
        """Give a file that has come whole its name."""
        path, partial = self._whole(file), self.partial(file)
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
        return path

    def drop(self, file: CachedFile) -> None:
        """Remove what has come of a file."""
        self.partial(file).unlink(missing_ok=True)

    def mark_bad(self, file: CachedFile, reason: str) -> None:
        """Note for all processes that a file comes with wrong bytes."""
        aside = self.folder / f"{file.sha256}.{os.getpid()}.bad{_PARTIAL}"
        aside.write_text(json.dumps(reason))
        os.replace(aside, self._bad(file))

    def known_bad(self, file: CachedFile) -> str | None:
        """Return why a file is not worth asking for, None where nothing is known against it."""
        path = self._bad(file)
        try:
            if time.time() - path.stat().st_mtime < _BAD_SECONDS:
                return str(json.loads(path.read_text()))
            path.unlink()
        except FileNotFoundError:
            return None
        return None

    def _whole(self, file: CachedFile) -> Path:
        return self.folder / f"{file.sha256}{Path(file.name).suffix}"

    def _bad(self, file: CachedFile) -> Path:
        return self.folder / f"{file.sha256}.bad"

    def _room(self) -> FileLock:
        return FileLock(self.folder / "locks" / "room.lock")

    def bytes_used(self) -> int:
        """Return the bytes of all files, those in flight with their whole size."""
        return sum(size for _, size, _ in self._files())

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return time of the last use, bytes and path of each file."""
        files = list[tuple[float, int, Path]]()
        for entry in os.scandir(self.folder):
            if entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    files.append((status.st_mtime, _account(entry.name, status), Path(entry.path)))
        return files

    def _evict(self, most: int) -> None:
        """Remove files until ``most`` bytes are left, least recently used first."""
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most:
                return
            if self._removed(path):
                total -= size

    def _removed(self, path: Path) -> bool:
        """Remove a file, unless it is coming just now."""
        if not path.name.endswith(_PARTIAL):
            path.unlink(missing_ok=True)
            return True
        lock = FileLock(self.folder / "locks" / f"{path.name.split('.')[0]}.lock")
        if not _acquired(lock, 0.0):
            return False
        try:
            path.unlink(missing_ok=True)  # left by a process that ended
        finally:
            lock.release()
        return True


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds, poll_interval=0.02)
    except Timeout:
        return False
    return True


def _account(name: str, status: os.stat_result) -> int:
    """Return what a file counts for: one in flight with its whole size."""
    size = name.split(".")[1] if name.endswith(_PARTIAL) else ""
    return int(size) if size.isdigit() else status.st_size
