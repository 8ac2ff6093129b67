"""Where a pattern of shards points: a folder of this machine or of another one, and names in it."""

import dataclasses
import fnmatch
import glob
import posixpath
from collections.abc import Sequence
from pathlib import Path

from webdataset.shardlists import expand_urls

from rba.data.storage.compressed import compressed_refusal, compression_of_name
from rba.data.writer import MANIFEST_NAME
from rba.errors import InputError

_LOCAL = ("file://", "local://")


@dataclasses.dataclass(frozen=True)
class RemoteLocation:
    """A folder behind a URL.

    Attributes:
        url: The folder's URL, without a slash at its end.
        wanted: Names or globs of tars that its manifest lists, or None for all.
    """

    url: str
    wanted: tuple[str, ...] | None


def is_remote(pattern: str) -> bool:
    """Return whether a pattern of shards is a URL of another machine (or of memory)."""
    return ("://" in pattern or pattern.startswith("pipe:")) and not pattern.startswith(_LOCAL)


def resolve_remote(pattern: str) -> RemoteLocation:
    """Find the folder and the names of a URL; asks nobody, since not every server lists folders.

    Raises:
        InputError: If the URL cannot be one of shards, or spans folders.
    """
    if pattern.startswith("pipe:"):
        raise InputError(
            f"shards={pattern} is a pipe, in which no sample can be found by its offset; give the "
            "URL itself (s3://, gs://, http://, hf://)"
        )
    if pattern.startswith("http") and "?" in pattern:
        raise InputError(
            f"shards={pattern} has a query (?...), which would hold for one file only; give a URL "
            "under which manifest, tars and indices are found by their names"
        )
    name = posixpath.basename(pattern)
    if name == MANIFEST_NAME:
        return RemoteLocation(posixpath.dirname(pattern), None)
    expanded = expand_urls(pattern)
    names = [posixpath.basename(url) for url in expanded]
    refuse_compressed(names)
    if not any(name.endswith(".tar") or glob.has_magic(name) for name in names):
        if len(expanded) > 1:
            raise InputError(f"shards={pattern} names {len(expanded)} folders; give one")
        return RemoteLocation(expanded[0].rstrip("/"), None)
    folders = {posixpath.dirname(url) for url in expanded}
    if len(folders) > 1 or glob.has_magic(folder := folders.pop()):
        raise InputError(f"shards={pattern} spans folders; give shards of one folder")
    return RemoteLocation(folder, tuple(names))


def match_names(wanted: Sequence[str], listed: Sequence[str], pattern: str) -> set[str]:
    """Return the listed names that are wanted.

    Args:
        wanted: Names or globs.
        listed: What the manifest lists.
        pattern: As given, for messages.

    Raises:
        InputError: If a wanted name is not listed, or nothing matches.
    """
    found = set[str]()
    for name in wanted:
        if not glob.has_magic(name) and name not in listed:
            raise InputError(f"shards={pattern}: {MANIFEST_NAME} does not list {name}")
        found.update(fnmatch.filter(listed, name) if glob.has_magic(name) else [name])
    if not found:
        raise InputError(
            f"no shard matches {pattern!r}; the manifest lists {len(listed)}"
            + (f" ({listed[0]} ...)" if listed else "")
        )
    return found


def refuse_compressed(names: Sequence[str], folder: Path | None = None) -> None:
    """Refuse compressed tars.

    Args:
        names: Names of files.
        folder: Where they lie on this machine, or None.

    Raises:
        InputError: With the command that makes a plain tar, and what comes then.
    """
    for name in names:
        compression = compression_of_name(name)
        if compression is not None:
            path = str(folder / name) if folder else name
            raise InputError(
                f"{name} is {compressed_refusal(path, compression)}; then index it with "
                "data_tools/index_shards.py"
            )


def resolve_local(pattern: str) -> tuple[Path, set[str] | None]:
    """Return the folder, and the names of the selected tars or None for all.

    Args:
        pattern: A folder, a manifest, or a glob or brace pattern of tars in one folder.

    Raises:
        InputError: If nothing is there, or the pattern is remote or spans folders.
    """
    for protocol in _LOCAL:
        pattern = pattern.removeprefix(protocol)
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
