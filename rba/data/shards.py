"""A set of shards: find it, check it against its manifest, read a sample by number in one read."""

import collections
import dataclasses
import io
import itertools
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rba.batch import Mode
from rba.data.sample import RECORD_MEMBERS, SCHEMA_VERSION, RecordError
from rba.data.shard_scan import split_name
from rba.data.storage.folders import LocalFolder, RemoteFolder, ShardFolder
from rba.data.storage.location import (
    is_remote,
    match_names,
    refuse_compressed,
    resolve_local,
    resolve_remote,
)
from rba.data.storage.opened import OpenShard
from rba.data.storage.patience import Patience
from rba.data.storage.settings import StorageSettings
from rba.data.writer import MANIFEST_NAME, ShardEntry
from rba.errors import InputError

IGNORED_MEMBERS = "ignored_members"  # entry of the manifest of shards that others wrote
_OPEN_SHARDS = 32  # tars and indices kept open by one process
_HEARTBEAT = 5.0  # seconds after which shards are needed anew, so that no cache drops them


class ShardSet:
    """The shards of one manifest, or some of them.

    Attributes:
        folder: Where manifest, tars and indices lie.
        name: The folder's name, the ``dataset`` of sample ids.
        kind: What the records are.
        entries: The selected shards, in the manifest's order.
        foreign: Others wrote the tars: members that no record knows are left out of samples, and a
            sample without ``json`` has no facts.
        retry_seconds: A file system that fails is asked again for so long.
    """

    def __init__(
        self,
        folder: ShardFolder,
        kind: Mode,
        entries: tuple[ShardEntry, ...],
        *,
        foreign: bool = False,
        retry_seconds: float = StorageSettings.retry_seconds,
    ) -> None:
        self.folder = folder
        self.name = folder.name
        self.kind = kind
        self.entries = entries
        self.foreign = foreign
        self.retry_seconds = retry_seconds
        self._open: collections.OrderedDict[int, OpenShard] = collections.OrderedDict()
        self._lost: dict[int, RecordError] = {}
        self._coming: dict[int, tuple[int, ...]] = {}
        self._told_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": collections.OrderedDict(), "_coming": {}}

    @classmethod
    def open(
        cls,
        pattern: str | Path,
        kind: Mode | None = None,
        storage: StorageSettings | None = None,
    ) -> Self:
        """Open shards and check the manifest against the tars' sizes.

        Args:
            pattern: A folder, a manifest, or a glob or brace pattern of tars in one folder; a path
                or a URL of fsspec.
            kind: Refuse a set of another kind.
            storage: How remote shards are read.

        Raises:
            InputError: If nothing is there, the manifest is missing, of another kind or schema, or
                disagrees with the tars.
        """
        storage = storage or StorageSettings()
        folder, wanted = _find(str(pattern), storage)
        manifest = parse_manifest(folder.manifest(), f"{folder}/{MANIFEST_NAME}")
        found = Mode(manifest["kind"])
        if kind is not None and found is not kind:
            raise InputError(
                f"{folder} holds {found.value} shards, but {kind.value} shards are wanted; build "
                f"them with data_tools/build_{kind.value}_shards.py"
            )
        entries = tuple(ShardEntry(**entry) for entry in manifest["shards"])
        if wanted is not None:
            names = match_names(wanted, [entry.name for entry in entries], str(pattern))
            entries = tuple(entry for entry in entries if entry.name in names)
        if sum(entry.samples for entry in entries) == 0:
            raise InputError(f"the shards of {pattern} hold no sample")
        folder.check(entries)
        foreign = IGNORED_MEMBERS in manifest
        return cls(folder, found, entries, foreign=foreign, retry_seconds=storage.retry_seconds)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of samples of each shard."""
        return tuple(entry.samples for entry in self.entries)

    def paths(self) -> set[str]:
        """Return where the selected shards lie: paths with links resolved, or URLs."""
        return {self.folder.place(entry.name) for entry in self.entries}

    def __len__(self) -> int:
        return sum(self.sizes)

    def read(self, shard: int, index: int) -> tuple[str, dict[str, bytes]]:
        """Read one sample.

        Args:
            shard: Number of the shard in ``entries``.
            index: Number of the sample in the shard.

        Returns:
            The sample's key, and its members as suffix -> bytes.

        Raises:
            RecordError: If the bytes are not a sample, or the shard is missing or damaged.
            StorageError: If the network or the file system failed for too long.
        """
        key, members = _parse(self._block(shard, index))
        return key, known_members(self.kind, members) if self.foreign else members

    def will_need(self, shards: tuple[int, ...], part: int = 0) -> None:
        """Prepare to read shards, the first one first, and let go of all others.

        Cheap when nothing changed: whoever walks the order calls it before each sample.

        Args:
            shards: Numbers of the shards that one part of the order is going to read.
            part: Which part; what the others need stays as it was.
        """
        now = time.monotonic()
        if shards == self._coming.get(part) and now - self._told_at < _HEARTBEAT:
            return
        self._coming[part], self._told_at = shards, now
        needed = list(dict.fromkeys(itertools.chain.from_iterable(self._coming.values())))
        for number in set(self._open).difference(needed):
            self._close(number)
        self.folder.will_need([self.entries[number] for number in needed])

    def sample_id(self, shard: int, key: str) -> str:
        """Return ``dataset/shard/key``."""
        return f"{self.name}/{Path(self.entries[shard].name).stem}/{key}"

    def _block(self, shard: int, index: int) -> bytes:
        if shard in self._lost:
            raise RecordError(self._lost[shard].reason, self._lost[shard].detail)
        patience = Patience(self.retry_seconds, f"{self.folder}/{self.entries[shard].name}")
        while True:
            try:
                return self._opened(shard).read(index)
            except OSError as error:  # a network file system, or a cache that just dropped it
                self._close(shard)
                patience.wait(error)

    def _opened(self, shard: int) -> OpenShard:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        entry = self.entries[shard]
        try:
            opened = OpenShard(*self.folder.paths(entry), entry)
        except RecordError as error:
            self._lost[shard] = error
            raise
        self._open[shard] = opened
        if len(self._open) > _OPEN_SHARDS:
            self._close(next(iter(self._open)))
        return opened

    def _close(self, shard: int) -> None:
        if shard in self._open:
            self._open.pop(shard).close()


def _find(pattern: str, storage: StorageSettings) -> tuple[ShardFolder, Sequence[str] | None]:
    """Return the folder, and the names or globs of the selected tars or None for all."""
    if is_remote(pattern):
        location = resolve_remote(pattern)
        return RemoteFolder(location.url, storage), location.wanted
    path, names = resolve_local(pattern)
    refuse_compressed(sorted(names or ()), path)
    return LocalFolder(path), None if names is None else sorted(names)


def known_members(kind: Mode, members: dict[str, bytes]) -> dict[str, bytes]:
    """Return what a record can read of a sample that others wrote, an empty ``json`` added."""
    known = {name: data for name, data in members.items() if name in RECORD_MEMBERS[kind]}
    return {"json": b"{}", **known}


def parse_manifest(data: bytes, path: str) -> dict[str, Any]:
    """Read the bytes of a manifest; its ``shards`` are dicts with the fields of a `ShardEntry`.

    Raises:
        InputError: Naming ``path`` and what is wrong with it.
    """
    try:
        manifest = json.loads(data)
        version = manifest["schema_version"]
        kind, shards = str(manifest["kind"]), list(manifest["shards"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a manifest of shards ({error!r}); build it") from error
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema {version}, ours is {SCHEMA_VERSION}; build it again")
    if kind not in set(Mode):
        raise InputError(f"{path} has kind {kind!r}, expected one of {[k.value for k in Mode]}")
    fields = {field.name for field in dataclasses.fields(ShardEntry)}
    if not all(isinstance(entry, dict) and set(entry) == fields for entry in shards):
        raise InputError(f"{path}: each shard needs exactly {sorted(fields)}; build it again")
    return manifest


def _parse(block: bytes) -> tuple[str, dict[str, bytes]]:
    """Split the tar block of one sample into its key and members."""
    keys: set[str] = set()
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(block), mode="r:") as tar:
            for info in tar:
                name = split_name(info.name)
                if name is None or info.isdir():
                    continue  # as WebDataset does
                key, suffix = name
                stream = tar.extractfile(info)
                if stream is None or suffix in members:
                    raise RecordError(f"member {info.name!r} is no file or is there twice")
                keys.add(key)
                members[suffix] = stream.read()
                if len(members[suffix]) != info.size:
                    raise RecordError(f"member {info.name!r} is cut short")
    except tarfile.TarError as error:
        raise RecordError("not a tar block", str(error)) from error
    if len(keys) != 1:
        raise RecordError("the index does not point at one sample", f"but at {len(keys)}")
    return keys.pop(), members
