"""Where shards go: a local folder, or any folder that fsspec can write to (``s3://...``)."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

from fsspec.core import url_to_fs

from rba.errors import InputError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class OutputFolder:
    """A folder that holds whole files only: each is written aside first.

    Locally a file is flushed to the disk and renamed. Elsewhere it is made whole in a scratch
    folder of this machine and then uploaded under its name.

    Args:
        url: A path, or a URL of a file system that fsspec knows.

    Attributes:
        url: As given, for messages.
        local: The folder on this machine, or None where it is elsewhere.

    Raises:
        InputError: If the URL names no known file system, or the package for it is missing.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._files: Any = None
        self._scratch: Path | None = None
        protocol, _, path = self.url.rpartition("://")
        if protocol in ("", "file", "local"):
            self.local, self._root = Path(path or ".").expanduser(), ""
            return
        self.local = None
        try:
            self._files, self._root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise InputError(f"{self.url}: {error}; give a folder or a URL of fsspec") from error

    def __str__(self) -> str:
        return self.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return (str(self.local.resolve()) if self.local else self._root).rstrip("/").split("/")[-1]

    def inside(self, name: str) -> "OutputFolder":
        """Return a folder in this one."""
        return OutputFolder(f"{self.url.rstrip('/')}/{name}")

    def make(self) -> None:
        """Make the folder and those above it.

        Raises:
            InputError: If it is a file.
        """
        if self.local is None:
            return  # made by the first upload
        if self.local.exists() and not self.local.is_dir():
            raise InputError(f"{self.local} is a file; give a folder for the shards")
        self.local.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Return the names of the files and folders directly inside, sorted."""
        if self.local is not None:
            return sorted(os.listdir(self.local)) if self.local.is_dir() else []
        try:
            found: list[str] = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").split("/")[-1] for path in found})

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, None where it is missing."""
        try:
            if self.local is not None:
                return (self.local / name).stat().st_size
            return int(self._files.size(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where it is missing."""
        try:
            if self.local is not None:
                return (self.local / name).read_bytes()
            return self._files.cat_file(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file.

        Raises:
            InputError: If there is no space left.
        """
        if self.local is None:
            with self.failures():
                self._files.pipe_file(self._path(name), data)
            return
        aside = self.aside(name)
        with self.failures():
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(aside, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError:
                aside.unlink(missing_ok=True)
                raise
        self.publish(name)

    def aside(self, name: str) -> Path:
        """Return where on this machine a file is made before it is `publish`-ed."""
        if self.local is not None:
            path = self.local / name
            return path.with_name(f".{path.name}.partial")
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="shards-"))
        return self._scratch / name.replace("/", "_")

    def publish(self, name: str) -> None:
        """Put a whole and flushed file from `aside` under its name."""
        aside = self.aside(name)
        with self.failures():
            if self.local is None:
                self._files.put_file(str(aside), self._path(name))
                aside.unlink()
                return
            os.replace(aside, self.local / name)
            _sync_folder((self.local / name).parent)

    def fetch(self, name: str) -> Path:
        """Return a file's path on this machine, downloaded where the folder is elsewhere."""
        if self.local is not None:
            return self.local / name
        path = self.aside(name)
        with self.failures():
            self._files.get_file(self._path(name), str(path))
        return path

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with what is in it; a missing one is fine."""
        if self.local is not None:
            path = self.local / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(self._path(name), recursive=True)

    @contextlib.contextmanager
    def failures(self) -> Generator[None]:
        """Turn what the file system refuses while a build writes into one clear message.

        Raises:
            InputError: For a full disk, and for a remote folder that cannot be written.
        """
        try:
            yield
        except OSError as error:
            again = "the same command goes on from what is finished"
            if error.errno in _FULL:
                where = self.local or self._scratch
                raise InputError(f"{where}: the disk is full; free space, then {again}") from error
            if self.local is None:
                raise InputError(f"{self.url}: {error}; {again}") from error
            raise

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
