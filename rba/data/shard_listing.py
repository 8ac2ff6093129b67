"""Which tars a check has to read, and what the folder and its manifest already get wrong."""

import collections
import dataclasses
import os
import posixpath
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from webdataset.shardlists import expand_urls

from rba.batch import Mode
from rba.data.shard_faults import Fault
from rba.data.shards import IGNORED_MEMBERS, parse_manifest
from rba.data.writer import MANIFEST_NAME, ShardEntry
from rba.errors import InputError

_INDEX = ".index.npy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardListing:
    """The shards of one folder, local or remote.

    Attributes:
        filesystem: Where they lie, an fsspec file system (whose annotations do not know bytes).
        folder: Their folder on it.
        kind: What the records are; None without a manifest.
        ignored: Suffixes of members that records do not know and that were others' to write; None
            for shards of ours, which hold no such members.
        entries: The manifest's lines by name; empty without a manifest.
        names: The tars that are there and wanted, sorted.
        faults: What is wrong so far.
    """

    filesystem: Any
    folder: str
    kind: Mode | None
    ignored: frozenset[str] | None
    entries: Mapping[str, ShardEntry]
    names: tuple[str, ...]
    faults: tuple[Fault, ...]


def list_shards(pattern: str) -> ShardListing:
    """Find shards by a folder, a manifest, or a glob or brace pattern; a path or an fsspec URL.

    Raises:
        InputError: If nothing is there, the pattern spans folders, or the URL cannot be opened.
    """
    filesystem, path = _open_filesystem(pattern)
    try:
        folder, wanted = _resolve(filesystem, path, pattern)
        found = {posixpath.basename(name) for name in filesystem.ls(folder, detail=False)}
    except (OSError, ImportError) as error:
        raise InputError(f"shards={pattern} cannot be listed: {error}") from error
    manifest, faults = _manifest(filesystem, folder, found)
    entries = {entry["name"]: ShardEntry(**entry) for entry in manifest.get("shards", [])}
    faults += _folder_faults(found, manifest, wanted)
    tars = {name for name in found if name.endswith(".tar")}
    names = tars if wanted is None else tars & wanted
    if not names and not entries:
        raise InputError(f"shards={pattern} holds no .tar; give a folder, a manifest or tars")
    return ShardListing(
        filesystem=filesystem,
        folder=folder,
        kind=Mode(manifest["kind"]) if manifest else None,
        ignored=frozenset(manifest[IGNORED_MEMBERS]) if IGNORED_MEMBERS in manifest else None,
        entries=entries,
        names=tuple(sorted(names)),
        faults=tuple(faults),
    )


def _open_filesystem(pattern: str) -> tuple[Any, str]:
    if "://" not in pattern:  # url_to_fs would take "::" in a path for a chain of URLs
        return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(pattern))
    try:
        return url_to_fs(pattern)
    except (ValueError, ImportError) as error:
        raise InputError(f"shards={pattern} cannot be opened: {error}") from error


def _resolve(filesystem: Any, path: str, pattern: str) -> tuple[str, set[str] | None]:
    """Return the folder, and the names that the pattern wants or None for all."""
    if filesystem.isdir(path):
        return path.rstrip("/"), None
    if posixpath.basename(path) == MANIFEST_NAME and filesystem.exists(path):
        return posixpath.dirname(path), None
    tars: list[str] = []
    for name in expand_urls(path):
        magic = any(character in name for character in "*?[")
        tars += filesystem.glob(name) if magic else [name]
    folders = {posixpath.dirname(name) for name in tars}
    if len(folders) > 1:
        raise InputError(f"shards={pattern} spans {len(folders)} folders; give those of one folder")
    if not folders or not filesystem.isdir(next(iter(folders))):
        raise InputError(f"shards={pattern} does not exist; give a folder, a manifest or tars")
    return folders.pop(), {posixpath.basename(name) for name in tars}


def _manifest(filesystem: Any, folder: str, found: set[str]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the manifest, empty where there is none to go by."""
    if MANIFEST_NAME not in found:
        return {}, [_fault(MANIFEST_NAME, "missing; data_tools/index_shards.py writes one")]
    try:
        data = filesystem.cat_file(f"{folder}/{MANIFEST_NAME}")
        return parse_manifest(data, MANIFEST_NAME), []
    except (OSError, InputError) as error:
        return {}, [_fault(MANIFEST_NAME, str(error))]


def _folder_faults(
    found: set[str], manifest: Mapping[str, Any], wanted: set[str] | None
) -> list[Fault]:
    """Compare the names of the folder with the manifest's."""
    listed = collections.Counter(entry["name"] for entry in manifest.get("shards", []))
    seen = [name for name in listed if wanted is None or name in wanted]
    faults = [_fault(name, "listed in the manifest but missing") for name in {*seen} - found]
    faults += [_fault(name, "listed twice in the manifest") for name in seen if listed[name] > 1]
    if wanted is not None:
        faults += [_fault(name, "wanted but missing") for name in wanted - found - {*seen}]
    if manifest:
        tars = {name for name in found if name.endswith(".tar")} & (wanted or found)
        faults += [_fault(name, "not listed in the manifest") for name in tars - {*listed}]
    if wanted is None:
        known = {f"{name.removesuffix('.tar')}{_INDEX}" for name in {*listed} | found}
        indices = {name for name in found if name.endswith(_INDEX)}
        faults += [_fault(name, "an index without its tar") for name in indices - known]
        partial = {name for name in found if name.endswith(".partial")}
        faults += [_fault(name, "left by a build that did not finish") for name in partial]
    return sorted(faults, key=lambda fault: (fault.shard, fault.reason))


def _fault(name: str, reason: str) -> Fault:
    return Fault(shard=name, key="", check="files", reason=reason)
