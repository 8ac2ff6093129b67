"""Put indices and a manifest beside tars that others wrote, or into a folder of links to them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rba.data.output import OutputFolder
from rba.data.sample import SCHEMA_VERSION
from rba.data.shard_index import TarIndex, require_one_kind
from rba.data.shards import IGNORED_MEMBERS
from rba.data.writer import MANIFEST_NAME, ShardEntry, index_bytes, index_path
from rba.errors import InputError


def prepare_adoption(tars: Sequence[Path], out: Path, *, overwrite: bool) -> None:
    """Make the folder, and refuse one that holds what would be replaced.

    Raises:
        InputError: If a manifest or, for links, another tar of a name is there.
    """
    output = OutputFolder(out)
    output.make()
    if (out / MANIFEST_NAME).exists() and not overwrite:
        raise InputError(
            f"{out / MANIFEST_NAME} exists; give overwrite=true to replace it, or another out="
        )
    for tar in tars:
        link = out / tar.name
        taken = link.is_symlink() or link.exists()
        if taken and link.resolve() != tar.resolve():
            raise InputError(f"{link} is another tar than {tar}; give an empty folder as out=")


def adopt_tars(indices: Sequence[TarIndex], out: Path) -> Path:
    """Write the index of each tar, a link to it where it lies elsewhere, and the manifest.

    Args:
        indices: Of one kind, none refused.
        out: The tars' own folder, or another one.

    Returns:
        The manifest's path.
    """
    output, entries = OutputFolder(out), list[ShardEntry]()
    output.remove(MANIFEST_NAME)  # a folder with a manifest is complete at any moment
    for index in indices:
        link = out / index.path.name
        if not link.exists():
            link.symlink_to(index.path.resolve())
        data = index_bytes(index.offsets)
        output.write(index_path(link).name, data)
        entries.append(
            ShardEntry(
                name=link.name,
                samples=len(index.offsets),
                bytes=index.bytes,
                sha256=index.sha256,
                index_sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": require_one_kind(indices).value,
        "settings": {"tool": "index_shards"},
        IGNORED_MEMBERS: sorted(ignored_members(indices)),
        "shards": [dataclasses.asdict(entry) for entry in entries],
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    output.write(MANIFEST_NAME, text.encode())
    return out / MANIFEST_NAME


def ignored_members(indices: Iterable[TarIndex]) -> dict[str, int]:
    """Return the suffixes that records do not know, with the number of samples that have them."""
    counts = dict[str, int]()
    for index in indices:
        for name, count in index.ignored.items():
            counts[name] = counts.get(name, 0) + count
    return counts
