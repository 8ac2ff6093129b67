"""Write shards: plain tars, their index and, last of all, the manifest. Same input, same bytes."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from webdataset.writer import TarWriter

from rba.batch import Mode
from rba.data.sample import SCHEMA_VERSION, check_members
from rba.errors import InputError

MANIFEST_NAME = "manifest.json"
_KEY_LENGTH = 80  # ustar holds names of 100 characters; the longest member needs 20 of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One line of the manifest.

    Attributes:
        name: File name of the tar beside the manifest.
        samples: Number of samples in it.
        bytes: Size of the tar.
        sha256: Digest of the tar.
        index_sha256: Digest of ``NAME.index.npy``.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str


def index_path(shard: Path) -> Path:
    """Return where a shard's index lies: ``a.tar`` -> ``a.index.npy``."""
    return shard.with_suffix(".index.npy")


class ShardWriter:
    """Write samples into ``NAME-000000.tar ...`` of one folder.

    Each shard is written to a hidden name beside its target, flushed to the disk and renamed when
    whole. The manifest comes last: a folder with a manifest is complete. Leaving the ``with`` block
    by an exception removes the unfinished shard and writes no manifest.

    Args:
        folder: Made if missing; must not hold shards yet.
        kind: What the records are.
        samples_per_shard: At least 1.
        settings: What made the shards (tool, version, options), for the manifest.
        overwrite: Remove the shards that lie in the folder first.

    Raises:
        InputError: If the folder holds shards and ``overwrite`` is false, or is a file.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        kind: Mode,
        samples_per_shard: int,
        settings: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        if samples_per_shard < 1:
            raise InputError(f"samples_per_shard={samples_per_shard}; give at least 1")
        self.folder = Path(folder)
        self.kind = kind
        self.samples_per_shard = samples_per_shard
        self.settings = dict(settings)
        self.entries: list[ShardEntry] = []
        self._stream: BinaryIO | None = None
        self._tar: TarWriter | None = None
        self._offsets: list[tuple[int, int]] = []
        _prepare_folder(self.folder, overwrite)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        elif self._stream is not None and self._tar is not None:
            with contextlib.suppress(OSError):  # a full disk refuses the last blocks again
                self._tar.close()
            with contextlib.suppress(OSError):
                self._stream.close()
            self._hidden.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.kind.value}-{len(self.entries):06d}.tar"

    @property
    def _hidden(self) -> Path:
        return self._path.with_name(f".{self._path.name}.partial")

    def write(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append one sample.

        Args:
            key: ASCII without dots, slashes and spaces (WebDataset splits names at the first dot).
            members: Suffix -> bytes, as `rba.data.sample` encodes them.

        Raises:
            ValueError: If the key or a member's name does not fit.
        """
        fits = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
        if not fits or len(key) > _KEY_LENGTH:
            raise ValueError(f"key {key!r}: letters, digits, - and _ only, at most {_KEY_LENGTH}")
        check_members(members)
        tar = self._tar or self._start_shard()
        start = int(tar.tarstream.offset)
        tar.write({"__key__": key, **members})
        self._offsets.append((start, int(tar.tarstream.offset)))
        if len(self._offsets) == self.samples_per_shard:
            self._finish_shard()

    def close(self) -> None:
        """Finish the last shard and write the manifest.

        Raises:
            InputError: If no sample was written.
        """
        if self._offsets:
            self._finish_shard()
        if not self.entries:
            raise InputError(f"no sample was kept for {self.folder}; nothing to write")
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind.value,
            "settings": self.settings,
            "shards": [dataclasses.asdict(entry) for entry in self.entries],
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        _write_aside(self.folder / MANIFEST_NAME, text.encode())

    def _start_shard(self) -> TarWriter:
        self._stream = open(self._hidden, "wb")  # noqa: SIM115
        self._tar = TarWriter(self._stream, encoder=False, compress=False, mtime=0)
        return self._tar

    def _finish_shard(self) -> None:
        assert self._tar is not None
        assert self._stream is not None
        self._tar.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        path, hidden = self._path, self._hidden
        index = _npy(np.array(self._offsets, np.uint64))
        with open(hidden, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entry = ShardEntry(
            name=path.name,
            samples=len(self._offsets),
            bytes=hidden.stat().st_size,
            sha256=digest,
            index_sha256=hashlib.sha256(index).hexdigest(),
        )
        _write_aside(index_path(path), index)
        os.replace(hidden, path)
        _sync_folder(self.folder)
        self.entries.append(entry)
        self._tar, self._stream, self._offsets = None, None, []


def _prepare_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the shards")
    folder.mkdir(parents=True, exist_ok=True)
    # The manifest goes first, so that a folder with a manifest is complete at any moment.
    patterns = (MANIFEST_NAME, "*.tar", "*.index.npy", ".*.partial")
    present = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    finished = [path for path in present if not path.name.endswith(".partial")]
    if finished and not overwrite:
        raise InputError(
            f"{folder} already holds {finished[0].name}; give another folder or overwrite=true"
        )
    for path in present:
        path.unlink()


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _write_aside(path: Path, data: bytes) -> None:
    hidden = path.with_name(f".{path.name}.partial")
    with open(hidden, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(hidden, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
