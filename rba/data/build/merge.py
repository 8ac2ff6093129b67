"""Make one set of the parts that several jobs built: the bytes that one job would have written."""

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from rba.batch import Mode
from rba.data.build.built import Built
from rba.data.build.duplicates import DuplicateIndex
from rba.data.build.engine import build_shards
from rba.data.build.job import BuildJob, part_name
from rba.data.build.journal import Page, is_finished, read_facts, read_pages
from rba.data.build.report import BuildReport
from rba.data.output import OutputFolder
from rba.data.writer import index_path
from rba.errors import InputError

_PART = re.compile(r"part-\d{3,}-of-(\d{3,})")

Place = tuple[int, str, int]  # part, name of the shard, number of the sample in it


def merge_parts(out: str, *, overwrite: bool = False, remove_parts: bool = False) -> BuildReport:
    """Write the samples of ``OUT/part-*`` into shards in ``OUT``, or go on doing so.

    Nothing is decoded. A photo that is a duplicate of one of an earlier part is dropped, as if one
    job had seen both.

    Args:
        out: Folder, or URL of fsspec.
        overwrite: Remove shards that lie in the folder itself.
        remove_parts: Remove the parts afterwards.

    Returns:
        What all jobs and the merging kept and dropped.

    Raises:
        InputError: If a part is missing, unfinished or of another build, or the folder holds
            shards of its own already.
    """
    with OutputFolder(out) as folder:
        parts = _find_parts(folder)
        facts = _common_facts(parts)
        settings = facts["settings"]
        samples, dropped = _survivors(parts, settings.get("near_distance", -1))
        job = BuildJob(
            kind=Mode(facts["kind"]),
            settings=settings,
            seed=None,
            samples_per_shard=settings["samples_per_shard"],
            bytes_per_shard=settings["bytes_per_shard"],
            workers=1,
            overwrite=overwrite,
        )
        loader = _PartReader(parts)
        try:
            report = build_shards(samples, loader, out, job, dropped)
        finally:
            loader.close()
        if remove_parts:
            for part in parts:
                folder.remove(part.name)
    return report


def _find_parts(folder: OutputFolder) -> list[OutputFolder]:
    found = [match for name in folder.names() if (match := _PART.fullmatch(name))]
    counts = {int(match[1]) for match in found}
    if len(counts) != 1:
        what = f"parts of {len(counts)} builds" if counts else "no part-000-of-..."
        raise InputError(f"{folder} holds {what}; give the out= of one build with parts=")
    names = [part_name(part, counts.copy().pop()) for part in range(max(counts))]
    parts = [folder.inside(name) for name in names]
    missing = [part.name for part in parts if not is_finished(part)]
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}, or they are not finished; run those jobs again "
            "with the same settings"
        )
    return parts


def _common_facts(parts: list[OutputFolder]) -> dict[str, Any]:
    facts = [read_facts(part) or {} for part in parts]
    for part, fact in zip(parts, facts, strict=True):
        for name in ("kind", "settings", "inputs"):
            if fact.get(name) != facts[0].get(name):
                raise InputError(
                    f"{part.name} was built with other {name} than {parts[0].name}: "
                    f"{fact.get(name)}, not {facts[0].get(name)}; build it again"
                )
    return facts[0]


def _survivors(
    parts: list[OutputFolder], distance: int
) -> tuple[list[tuple[str, Place]], list[tuple[str, str]]]:
    """Return the samples that stay, and reason and name of everything that was dropped."""
    index = DuplicateIndex(distance)
    samples: list[tuple[str, Place]] = []
    dropped: list[tuple[str, str]] = []
    for number, part in enumerate(parts):
        for page in read_pages(part):
            dropped += page.dropped
            for name, place, reason in _judge(page, number, index):
                if reason is not None:
                    dropped.append((reason, name))
                elif place is not None:
                    samples.append((name, place))
    return samples, dropped


def _judge(
    page: Page, part: int, index: DuplicateIndex
) -> list[tuple[str, Place | None, str | None]]:
    """Return name, place in the part's shards and reason to be dropped of a page's inputs."""
    judged: list[tuple[str, Place | None, str | None]] = []
    kept = 0
    for row in page.seen:
        place = None
        if row.kept:
            assert page.entry is not None
            place = (part, page.entry.name, kept)
            kept += 1
        judged.append((row.name, place, row.fingerprint and index.add(row.fingerprint)))
    return judged


class _PartReader:
    """The loader of merging: members as they are, from one open shard after the other."""

    def __init__(self, parts: list[OutputFolder]) -> None:
        self._parts = parts
        self._open: tuple[int, str] | None = None
        self._path = Path()
        self._offsets = np.zeros((0, 2), np.uint64)

    def __call__(self, place: Place, key: str) -> Built:
        """Read the members of a sample; the key is the one it has."""
        del key
        part, shard, number = place
        if self._open != (part, shard):
            self.close()
            output = self._parts[part]
            self._path = output.fetch(shard)
            index = output.read(index_path(Path(shard)).name)
            assert index is not None
            self._offsets = np.load(io.BytesIO(index), allow_pickle=False)
            self._open = (part, shard)
        start, end = (int(offset) for offset in self._offsets[number])
        with open(self._path, "rb") as stream:
            stream.seek(start)
            block = stream.read(end - start)
        members: dict[str, bytes] = {}
        name = ""
        with tarfile.open(fileobj=io.BytesIO(block), mode="r:") as tar:
            for info in tar:
                name, _, suffix = info.name.partition(".")
                stream = tar.extractfile(info)
                assert stream is not None
                members[suffix] = stream.read()
        return Built(members, key=name)

    def close(self) -> None:
        """Remove what was downloaded of the open shard."""
        if self._open is not None:
            self._parts[self._open[0]].__exit__()
            self._open = None
