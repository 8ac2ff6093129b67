"""The folder of pictures: NAME.jpg with NAME.json beside it, whole or not there at all."""

import contextlib
import fcntl
import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from rba.data.output import OutputFolder
from rba.errors import InputError

STATE_NAME = ".pixabay"  # answers of the API and the lock, inside the folder
REPORT_NAME = "download_report.json"
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


class PictureFolder:
    """What lies in the folder is the state of the download: nothing else is kept of it.

    Args:
        path: Made if missing by `opened`.

    Attributes:
        files: Writes whole files into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = OutputFolder(path)
        self.state = path / STATE_NAME
        self._held = frozenset[int]()

    @contextlib.contextmanager
    def opened(self, size: str) -> Generator[None]:
        """Lock the folder, remove what a killed run left unfinished, see which pictures it holds.

        Args:
            size: Name of the files' size; all files of a folder have the same.

        Raises:
            InputError: If another run works in it, or it holds pictures of another size.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out={self.path} is a file; give a folder")
        self.state.mkdir(parents=True, exist_ok=True)
        with open(self.state / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another download runs in {self.path}; wait or stop it") from None
            for partial in (*self.path.glob(".*.partial"), *self.state.glob(".*.partial")):
                partial.unlink()
            self._held = self.scan()
            self._require_size(size)
            yield

    def holds(self, number: int) -> bool:
        """Return whether a picture lay in the folder when it was opened."""
        return number in self._held

    def scan(self) -> frozenset[int]:
        """Return the numbers of the pictures whose file and sidecar are there."""
        stems: dict[str, set[str]] = {".json": set()} | {s: set() for s in SUFFIXES.values()}
        if self.path.is_dir():
            with os.scandir(self.path) as entries:
                for entry in entries:
                    stem, suffix = os.path.splitext(entry.name)
                    if suffix in stems and stem.isdecimal():
                        stems[suffix].add(stem)
        pictures = set[str]().union(*(stems[suffix] for suffix in SUFFIXES.values()))
        return frozenset(map(int, pictures & stems[".json"]))

    def store(self, number: int, suffix: str, body: bytes, facts: Mapping[str, Any]) -> None:
        """Write a picture and its sidecar.

        The sidecar gets its name first: a picture without its licence is never there.

        Raises:
            InputError: If the disk is full.
        """
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        self.files.write(f"{number}.json", text.encode(errors="replace"))
        self.files.write(f"{number}{suffix}", body)

    def _require_size(self, size: str) -> None:
        if not self._held:
            return
        sidecar = self.path / f"{min(self._held)}.json"
        try:
            present = json.loads(sidecar.read_bytes())["size"]
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{sidecar} is no sidecar of this tool; give another folder") from None
        if present != size:
            raise InputError(
                f"{self.path} holds pictures of size={present}; give size={present} or another out"
            )
