"""A set of shards: find it, check it against its manifest, read a sample by number in one read."""

import collections
import dataclasses
import glob
import hashlib
import io
import json
import mmap
import tarfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from webdataset.shardlists import expand_urls

from rba.batch import Mode
from rba.data.sample import RECORD_MEMBERS, SCHEMA_VERSION, RecordError
from rba.data.shard_scan import split_name
from rba.data.writer import MANIFEST_NAME, ShardEntry, index_path
from rba.errors import InputError

IGNORED_MEMBERS = "ignored_members"  # entry of the manifest of shards that others wrote
_OPEN_SHARDS = 32  # memory maps and indices kept open by one process


@dataclasses.dataclass(frozen=True)
class _OpenShard:
    data: mmap.mmap
    offsets: np.ndarray  # uint64 [n, 2]: start and end of each sample


class ShardSet:
    """The shards of one manifest, or some of them.

    Attributes:
        folder: Where manifest, tars and indices lie.
        name: The folder's name, the ``dataset`` of sample ids.
        kind: What the records are.
        entries: The selected shards, in the manifest's order.
        foreign: Others wrote the tars: members that no record knows are left out of samples, and a
            sample without ``json`` has no facts.
    """

    def __init__(
        self, folder: Path, kind: Mode, entries: tuple[ShardEntry, ...], *, foreign: bool = False
    ) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self.kind = kind
        self.entries = entries
        self.foreign = foreign
        self._open: collections.OrderedDict[int, _OpenShard] = collections.OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": collections.OrderedDict()}

    @classmethod
    def open(cls, pattern: str | Path, kind: Mode | None = None) -> Self:
        """Open shards and check the manifest against the tars' sizes.

        Args:
            pattern: A folder, a manifest, or a glob or brace pattern of tars in one folder.
            kind: Refuse a set of another kind.

        Raises:
            InputError: If nothing is there, the manifest is missing, of another kind or schema, or
                disagrees with the tars.
        """
        folder, names = resolve_shards(str(pattern))
        manifest = _read_manifest(folder)
        found = Mode(manifest["kind"])
        if kind is not None and found is not kind:
            raise InputError(
                f"{folder} holds {found.value} shards, but {kind.value} shards are wanted; build "
                f"them with data_tools/build_{kind.value}_shards.py"
            )
        entries = tuple(ShardEntry(**entry) for entry in manifest["shards"])
        if names is not None:
            unlisted = names - {entry.name for entry in entries}
            if unlisted:
                raise InputError(f"{folder / MANIFEST_NAME} does not list {sorted(unlisted)[0]}")
            entries = tuple(entry for entry in entries if entry.name in names)
        if sum(entry.samples for entry in entries) == 0:
            raise InputError(f"the shards of {pattern} hold no sample")
        _check_sizes(folder, entries)
        return cls(folder, found, entries, foreign=IGNORED_MEMBERS in manifest)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of samples of each shard."""
        return tuple(entry.samples for entry in self.entries)

    def paths(self) -> set[Path]:
        """Return where the selected shards lie, links resolved."""
        return {(self.folder / entry.name).resolve() for entry in self.entries}

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
            RecordError: If the bytes are not a sample.
            InputError: If the shard's index does not fit the manifest.
        """
        opened = self._opened(shard)
        start, end = (int(offset) for offset in opened.offsets[index])
        key, members = _parse(opened.data[start:end])
        return key, known_members(self.kind, members) if self.foreign else members

    def sample_id(self, shard: int, key: str) -> str:
        """Return ``dataset/shard/key``."""
        return f"{self.name}/{Path(self.entries[shard].name).stem}/{key}"

    def _opened(self, shard: int) -> _OpenShard:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        entry = self.entries[shard]
        path = self.folder / entry.name
        offsets = _read_index(index_path(path), entry)
        with open(path, "rb") as stream:
            opened = _OpenShard(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), offsets)
        self._open[shard] = opened
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)[1].data.close()
        return opened


def known_members(kind: Mode, members: dict[str, bytes]) -> dict[str, bytes]:
    """Return what a record can read of a sample that others wrote, an empty ``json`` added."""
    known = {name: data for name, data in members.items() if name in RECORD_MEMBERS[kind]}
    return {"json": b"{}", **known}


def resolve_shards(pattern: str) -> tuple[Path, set[str] | None]:
    """Return the folder, and the names of the selected tars or None for all."""
    if "://" in pattern:
        raise InputError(f"{pattern} is remote; copy or mount the shards, and give a local folder")
    path = Path(pattern).expanduser()
    if path.is_dir():
        return path, None
    if path.name == MANIFEST_NAME:
        if not path.is_file():
            raise InputError(f"{path} does not exist; give a folder of shards")
        return path.parent, None
    tars = [
        Path(name)
        for expanded in expand_urls(str(path))
        for name in (glob.glob(expanded) if glob.has_magic(expanded) else [expanded])
    ]
    if not tars:
        raise InputError(f"no shard matches {pattern!r}; give a folder, a manifest or tars")
    missing = [tar for tar in tars if not tar.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} does not exist ({len(missing)} of {len(tars)} shards missing); give a "
            "folder of shards, its manifest, or a pattern of tars that are there"
        )
    folders = {tar.parent for tar in tars}
    if len(folders) > 1:
        raise InputError(f"{pattern!r} spans {len(folders)} folders; give shards of one folder")
    return folders.pop(), {tar.name for tar in tars}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise InputError(
            f"{folder} has no {MANIFEST_NAME}, so it is not a finished set of shards; build one "
            "with data_tools/build_alignment_shards.py or data_tools/build_refinement_shards.py, "
            "or index tars of others with data_tools/index_shards.py"
        )
    return parse_manifest(path.read_bytes(), str(path))


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


def _check_sizes(folder: Path, entries: tuple[ShardEntry, ...]) -> None:
    for entry in entries:
        path = folder / entry.name
        for needed in (path, index_path(path)):
            if not needed.is_file():
                raise InputError(
                    f"{needed} is listed in the manifest but missing; restore it or build again"
                )
        if path.stat().st_size != entry.bytes:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes, its manifest says {entry.bytes}; copy it "
                "again or build again"
            )


def _read_index(path: Path, entry: ShardEntry) -> np.ndarray:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.index_sha256:
        raise InputError(f"{path} is not the index its manifest names; build the shards again")
    offsets = np.load(io.BytesIO(data), allow_pickle=False)
    if offsets.shape != (entry.samples, 2) or offsets.dtype != np.uint64:
        raise InputError(f"{path} is {offsets.dtype} {offsets.shape}, not ({entry.samples}, 2)")
    return offsets


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
