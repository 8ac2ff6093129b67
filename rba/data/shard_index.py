"""Index plain tars that others wrote, so that training reads them as they are."""

import collections
import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rba.batch import Mode
from rba.data.sample import RECORD_MEMBERS, RecordError, decode_record
from rba.data.shard_check import guess_kind, is_pickle
from rba.data.shard_scan import TarSample, TarScan, compression_of
from rba.data.shards import known_members
from rba.data.storage.compressed import compressed_refusal, compression_of_name
from rba.data.storage.location import resolve_local
from rba.errors import InputError

_NEEDED = {Mode.ALIGNMENT: ("jpg",), Mode.REFINEMENT: ("target.jpg", "reference.jpg")}
_OTHER_PICTURES = frozenset({"jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexTask:
    """One tar to index, and what its samples should be; None finds out."""

    path: Path
    kind: Mode | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarIndex:
    """What one tar holds.

    Attributes:
        path: The tar.
        kind: What its records are.
        offsets: uint64 [n, 2], start and end of each sample.
        bytes: Size of the tar.
        sha256: Digest of the tar.
        ignored: Suffix of members that records do not know -> how many samples have it.
        refusal: Why it cannot be trained on, with the way out; None where it can.
    """

    path: Path
    kind: Mode
    offsets: np.ndarray
    bytes: int
    sha256: str
    ignored: Mapping[str, int]
    refusal: str | None


def find_tars(pattern: str) -> list[Path]:
    """Return the tars of a folder or pattern, sorted by name, compressed ones among them.

    Raises:
        InputError: If there is none, or the pattern is remote or spans folders.
    """
    folder, names = resolve_local(pattern)
    if names is None:
        names = {n for n in os.listdir(folder) if n.endswith(".tar") or compression_of_name(n)}
    if not names:
        raise InputError(f"{folder} holds no .tar; give a folder of tars, or a pattern")
    return [folder / name for name in sorted(names)]


def index_tar(task: IndexTask) -> TarIndex:
    """Read one tar from its beginning to its end, and its first record."""
    try:
        return _index_tar(task)
    except OSError as error:
        return _refused(task, f"cannot be read: {error}")


def crashed_index(task: IndexTask) -> TarIndex:
    """Return the refusal of a tar that ended the process which read it."""
    return _refused(task, "reading it ends the process: a decoder crashes, or memory is too small")


def _index_tar(task: IndexTask) -> TarIndex:
    ranges, suffixes = list[tuple[int, int]](), collections.Counter[str]()
    kind, refusal = task.kind, None
    with open(task.path, "rb") as stream:
        compression = compression_of(stream.read(8))
        stream.seek(0)
        scan = TarScan(stream)
        for sample in scan if compression is None else ():
            kind = kind or guess_kind(sample)
            if refusal is None:
                refusal = _sample_refusal(sample, kind, decode=not ranges)
            suffixes.update(sample.members.keys())
            ranges.append((sample.start, sample.end))
    kind = kind or Mode.ALIGNMENT
    return TarIndex(
        path=task.path,
        kind=kind,
        offsets=np.array(ranges, np.uint64).reshape(-1, 2),
        bytes=scan.size,
        sha256=scan.sha256,
        ignored={name: n for name, n in suffixes.items() if name not in RECORD_MEMBERS[kind]},
        refusal=_tar_refusal(task.path, compression, scan, len(ranges)) or refusal,
    )


def require_one_kind(indices: Sequence[TarIndex]) -> Mode:
    """Return what all tars hold.

    Raises:
        InputError: Naming two tars that differ.
    """
    first = indices[0]
    other = next((index for index in indices if index.kind is not first.kind), None)
    if other is not None:
        raise InputError(
            f"{first.path.name} holds {first.kind.value} samples, {other.path.name} "
            f"{other.kind.value} samples; index each kind in a folder of its own"
        )
    return first.kind


def _refused(task: IndexTask, reason: str) -> TarIndex:
    return TarIndex(
        path=task.path,
        kind=task.kind or Mode.ALIGNMENT,
        offsets=np.empty((0, 2), np.uint64),
        bytes=0,
        sha256="",
        ignored={},
        refusal=reason,
    )


def _tar_refusal(path: Path, compression: str | None, scan: TarScan, samples: int) -> str | None:
    if compression is not None:
        return compressed_refusal(str(path), compression)
    if scan.problems:
        first, more = scan.problems[0], len(scan.problems) - 1
        where = f"sample {first.key!r}: " if first.key else ""
        others = f" (and {more} more)" if more else ""
        way = ""
        if "not adjacent" in first.reason:
            target = path.with_name(f"sorted-{path.name}")
            way = (
                f"; write it sorted: mkdir x && tar -xf {_quoted(path)} -C x && "
                f"tar --sort=name -cf {_quoted(target)} -C x ."
            )
        return f"{where}{first.reason}{others}{way}"
    return None if samples else "no sample in it"


def _sample_refusal(sample: TarSample, kind: Mode, *, decode: bool) -> str | None:
    """Return why a sample cannot be trained on, from its names and, if ``decode``, its bytes."""
    where, names = f"sample {sample.key!r}", sorted(sample.members)
    pickles = [name for name in names if is_pickle(name)]
    if pickles:
        return (
            f"{where}: member {pickles[0]!r} is a pickle, which runs code when WebDataset decodes "
            "it; write the tar without it"
        )
    missing = [name for name in _NEEDED[kind] if name not in sample.members]
    if missing:
        other = [name for name in names if name in _OTHER_PICTURES]
        way = (
            f"; records are read from jpg, not from {other[0]}: data_tools/"
            "build_alignment_shards.py images=TARS out=DIR builds shards of such tars"
            if other
            else f"; {kind.value} samples need it"
        )
        return f"{where}: member {missing[0]!r} is missing, there are {names}{way}"
    if decode:
        try:
            decode_record(kind, sample.key, known_members(kind, sample.members))
        except RecordError as error:
            return f"{where}: {error}"
    return None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
