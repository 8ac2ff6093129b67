"""Write shards: plain tars, their index and, last of all, the manifest. Same input, same bytes."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from webdataset.writer import TarWriter

from rba.batch import Mode
from rba.data.output import OutputFolder
from rba.data.sample import SCHEMA_VERSION, check_members
from rba.errors import InputError

MANIFEST_NAME = "manifest.json"
_KEY_LENGTH = 80  # ustar holds names of 100 characters; the longest member needs 20 of them
_OURS = re.compile(rf"({'|'.join(Mode)})-[0-9]{{6,}}\.(tar|index\.npy)")
_BLOCK = 512  # a tar's unit: each member has a header of one, and is padded to whole ones


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

    Each shard is written aside, flushed to the disk and renamed (or uploaded) when whole. The
    manifest comes last: a folder with a manifest is complete. Leaving the ``with`` block by an
    exception removes the unfinished shard and writes no manifest.

    Args:
        folder: A path or a URL of fsspec; made if missing, must not hold shards yet.
        kind: What the records are.
        samples_per_shard: A shard ends after so many samples; at least 1.
        bytes_per_shard: A shard ends before a sample that would make its members larger than this,
            with their headers; 0 = no limit. A sample that is larger gets a shard of its own.
        settings: What made the shards (tool, version, options), for the manifest.
        overwrite: Remove the shards that lie in the folder first.
        entries: Finished shards of an earlier run to go on from, of this folder.
        on_finished: Called with each shard that is whole under its name, before the sample that
            comes next is taken.
        allow_empty: A set without a sample is none the less finished.

    Raises:
        InputError: If the folder holds other shards and ``overwrite`` is false, or is a file.
    """

    def __init__(
        self,
        folder: str | Path | OutputFolder,
        *,
        kind: Mode,
        samples_per_shard: int,
        settings: Mapping[str, Any],
        bytes_per_shard: int = 0,
        overwrite: bool = False,
        entries: Sequence[ShardEntry] | None = None,
        on_finished: Callable[[ShardEntry], None] | None = None,
        allow_empty: bool = False,
    ) -> None:
        if samples_per_shard < 1:
            raise InputError(f"samples_per_shard={samples_per_shard}; give at least 1")
        self.output = folder if isinstance(folder, OutputFolder) else OutputFolder(folder)
        self.kind = kind
        self.samples_per_shard = samples_per_shard
        self.bytes_per_shard = bytes_per_shard
        self.settings = dict(settings)
        self.entries = list(entries or ())
        self._on_finished = on_finished
        self._allow_empty = allow_empty
        self._stream: BinaryIO | None = None
        self._tar: TarWriter | None = None
        self._offsets: list[tuple[int, int]] = []
        if entries is None:
            refuse_shards(self.output, overwrite=overwrite)
        self.output.make()
        clear_shards(self.output, keep=self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self._discard()
        self.output.__exit__()

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        assert self.output.local is not None
        return self.output.local

    @property
    def _name(self) -> str:
        return f"{self.kind.value}-{len(self.entries):06d}.tar"

    def write(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append one sample; a shard that is full is finished before.

        Args:
            key: ASCII without dots, slashes and spaces (WebDataset splits names at the first dot).
            members: Suffix -> bytes, as `rba.data.sample` encodes them.

        Raises:
            ValueError: If the key or a member's name does not fit.
            InputError: If there is no space left.
        """
        fits = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
        if not fits or len(key) > _KEY_LENGTH:
            raise ValueError(f"key {key!r}: letters, digits, - and _ only, at most {_KEY_LENGTH}")
        check_members(members)
        if self._offsets and self._is_full(members):
            self._finish_shard()
        with self.output.failures():
            tar = self._tar or self._start_shard()
            start = int(tar.tarstream.offset)
            tar.write({"__key__": key, **members})
            self._offsets.append((start, int(tar.tarstream.offset)))

    def finish_shards(self) -> None:
        """Finish the last shard, if samples are in it."""
        if self._offsets:
            self._finish_shard()

    def close(self) -> None:
        """Finish the last shard and write the manifest.

        Raises:
            InputError: If no sample was written, unless ``allow_empty``.
        """
        self.finish_shards()
        if not self.entries and not self._allow_empty:
            raise InputError(f"no sample was kept for {self.output}; nothing to write")
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind.value,
            "settings": self.settings,
            "shards": [dataclasses.asdict(entry) for entry in self.entries],
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        self.output.write(MANIFEST_NAME, text.encode())

    def _is_full(self, members: Mapping[str, bytes]) -> bool:
        if len(self._offsets) >= self.samples_per_shard:
            return True
        added = sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for data in members.values())
        return 0 < self.bytes_per_shard < self._offsets[-1][1] + added

    def _start_shard(self) -> TarWriter:
        self._stream = open(self.output.aside(self._name), "wb")  # noqa: SIM115
        self._tar = TarWriter(self._stream, encoder=False, compress=False, mtime=0)
        return self._tar

    def _discard(self) -> None:
        """Drop the unfinished shard."""
        if self._stream is None or self._tar is None:
            return
        with contextlib.suppress(OSError):  # a full disk refuses the last blocks again
            self._tar.close()
        with contextlib.suppress(OSError):
            self._stream.close()
        self.output.aside(self._name).unlink(missing_ok=True)
        self._tar, self._stream, self._offsets = None, None, []

    def _finish_shard(self) -> None:
        assert self._tar is not None
        assert self._stream is not None
        name = self._name
        aside = self.output.aside(name)
        with self.output.failures():
            self._tar.close()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        index = index_bytes(self._offsets)
        with open(aside, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entry = ShardEntry(
            name=name,
            samples=len(self._offsets),
            bytes=aside.stat().st_size,
            sha256=digest,
            index_sha256=hashlib.sha256(index).hexdigest(),
        )
        self.output.write(index_path(Path(name)).name, index)
        self.output.publish(name)
        self.entries.append(entry)
        self._tar, self._stream, self._offsets = None, None, []
        if self._on_finished is not None:
            self._on_finished(entry)


def refuse_shards(output: OutputFolder, *, overwrite: bool) -> None:
    """Refuse a folder that holds shards already, unless they may be removed.

    Raises:
        InputError: Naming what lies there.
    """
    present = [name for name in output.names() if _is_ours(name) and not _is_partial(name)]
    if present and not overwrite:
        raise InputError(
            f"{output} already holds {present[0]}; give another folder or overwrite=true"
        )


def clear_shards(output: OutputFolder, keep: Sequence[ShardEntry]) -> None:
    """Remove what a build leaves in a folder, but for some finished shards and their indices."""
    kept = {entry.name for entry in keep}
    kept |= {index_path(Path(name)).name for name in kept}
    present = [name for name in output.names() if _is_ours(name) and name not in kept]
    # The manifest goes first, so that a folder with a manifest is complete at any moment.
    for name in sorted(present, key=lambda name: (name != MANIFEST_NAME, name)):
        output.remove(name)


def _is_ours(name: str) -> bool:
    whole = name.removeprefix(".").removesuffix(".partial") if _is_partial(name) else name
    return whole == MANIFEST_NAME or _OURS.fullmatch(whole) is not None


def _is_partial(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def index_bytes(ranges: Sequence[tuple[int, int]] | np.ndarray) -> bytes:
    """Return the file beside a shard: where each sample starts and ends, as ``.npy``."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(ranges, np.uint64).reshape(-1, 2), allow_pickle=False)
    return stream.getvalue()
