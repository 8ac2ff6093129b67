"""Read every byte of a shard and hold it to its manifest, its index and the schema of records."""

import contextlib
import dataclasses
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from rba.batch import Mode
from rba.data.record_values import value_faults
from rba.data.sample import RECORD_MEMBERS, RecordError, decode_record
from rba.data.shard_faults import Fault, SampleDigest
from rba.data.shard_listing import ShardListing
from rba.data.shard_scan import TarSample, TarScan
from rba.data.shards import known_members
from rba.data.writer import ShardEntry

PICKLES = frozenset({"pkl", "pickle", "pyd", "pth", "pt"})  # suffixes that readers unpickle


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One tar to check; travels to worker processes. Attributes as in `ShardListing`."""

    filesystem: Any
    path: str
    kind: Mode | None
    ignored: frozenset[str] | None
    entry: ShardEntry | None

    @property
    def name(self) -> str:
        """Return the tar's file name."""
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What was found in one tar.

    Attributes:
        name: File name.
        bytes: Size.
        samples: What tells them apart, in their order.
        faults: What is wrong, in the order it was found.
    """

    name: str
    bytes: int
    samples: list[SampleDigest]
    faults: list[Fault]


def shard_tasks(listing: ShardListing) -> list[ShardTask]:
    """Return a task for each tar of a listing."""
    return [
        ShardTask(
            filesystem=listing.filesystem,
            path=f"{listing.folder}/{name}",
            kind=listing.kind,
            ignored=listing.ignored,
            entry=listing.entries.get(name),
        )
        for name in listing.names
    ]


def check_shard(task: ShardTask) -> ShardResult:
    """Read one tar from its beginning to its end; a fault ends nothing."""
    samples, faults, ranges = list[SampleDigest](), list[Fault](), list[tuple[int, int, str]]()
    size = 0

    def add(check: str, reason: str, key: str = "") -> None:
        faults.append(Fault(shard=task.name, key=key, check=check, reason=reason))

    try:
        with task.filesystem.open(task.path, "rb") as stream:
            scan = TarScan(stream)
            kind = task.kind
            for sample in scan:
                kind = kind or guess_kind(sample)
                ranges.append((sample.start, sample.end, sample.key))
                samples.append(SampleDigest(sample.key, _pictures_digest(sample)))
                for check, reason in sample_faults(sample, kind, task.ignored):
                    add(check, reason, sample.key)
        size = scan.size
        if scan.compression:
            add("tar", f"compressed with {scan.compression}; only plain tars are read")
        else:
            for problem in scan.problems:
                add("tar", problem.reason, problem.key)
            for name in scan.outside if task.ignored is None else []:
                add("members", f"member {name!r} belongs to no sample")
        if task.entry is not None:
            for check, reason in _entry_faults(task.entry, scan, len(samples)):
                add(check, reason)
            for key, reason in _index_faults(task, task.entry, ranges):
                add("index", reason, key)
    except OSError as error:
        add("files", f"cannot be read: {error}")
    return ShardResult(name=task.name, bytes=size, samples=samples, faults=faults)


def crashed_check(task: ShardTask) -> ShardResult:
    """Return the result of a tar whose check ended the process."""
    reason = "reading it ends the process: a decoder crashes, or memory is too small"
    fault = Fault(shard=task.name, key="", check="tar", reason=reason)
    return ShardResult(name=task.name, bytes=0, samples=[], faults=[fault])


def guess_kind(sample: TarSample) -> Mode:
    """Return what a sample looks like: a pair of views, or else a photo."""
    pair = {"target.jpg", "reference.jpg"} & set(sample.members)
    return Mode.REFINEMENT if pair else Mode.ALIGNMENT


def is_pickle(suffix: str) -> bool:
    """Return whether readers would unpickle a member (``pkl``, ``a.pth``, ``pickle.gz`` ...)."""
    return bool(PICKLES & set(suffix.split(".")))


def sample_faults(
    sample: TarSample, kind: Mode, ignored: frozenset[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield check and reason of what is wrong with one sample.

    Args:
        sample: Its members.
        kind: What its record should be.
        ignored: Suffixes that may be there beside the record's; None: a sample of ours.
    """
    known = RECORD_MEMBERS[kind]
    for suffix in sorted(set(sample.members) - known):
        if is_pickle(suffix):
            yield "members", f"member {suffix!r} is a pickle, which runs code when read"
        elif suffix not in (ignored or ()):
            yield "members", f"member {suffix!r} is foreign to {kind.value} records"
    members = {name: data for name, data in sample.members.items() if name in known}
    if ignored is not None:
        members = known_members(kind, members)
    try:
        with decoder_messages() as messages:
            record = decode_record(kind, sample.key, members)
    except RecordError as error:
        yield "records", str(error)
        return
    if messages:
        yield "records", f"a picture is damaged; its decoder says: {messages[0]}"
    for reason in value_faults(record):
        yield "records", reason


@contextlib.contextmanager
def decoder_messages() -> Generator[list[str]]:
    """Collect what libjpeg and libpng write to the process's standard error.

    OpenCV returns a picture of damaged data as if all were well; only these lines tell.
    """
    messages: list[str] = []
    sys.stderr.flush()
    usual = os.dup(2)
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(usual, 2)
            os.close(usual)
            stream.seek(0)
            messages += stream.read().decode(errors="replace").splitlines()


def _pictures_digest(sample: TarSample) -> bytes | None:
    pictures = [data for name, data in sorted(sample.members.items()) if name.endswith("jpg")]
    return hashlib.sha256(b"".join(pictures)).digest() if pictures else None


def _entry_faults(entry: ShardEntry, scan: TarScan, num_samples: int) -> Iterator[tuple[str, str]]:
    if scan.size != entry.bytes:
        yield "manifest", f"has {scan.size} bytes, the manifest says {entry.bytes}"
    elif scan.sha256 != entry.sha256:
        yield "manifest", f"sha256 is {scan.sha256}, the manifest says {entry.sha256}"
    if num_samples != entry.samples:
        yield "manifest", f"has {num_samples} samples, the manifest says {entry.samples}"


def _index_faults(
    task: ShardTask, entry: ShardEntry, ranges: list[tuple[int, int, str]]
) -> Iterator[tuple[str, str]]:
    """Yield key and reason of what is wrong with the index of a tar."""
    path = f"{task.path.removesuffix('.tar')}.index.npy"
    try:
        data = task.filesystem.cat_file(path)
        index = np.load(io.BytesIO(data), allow_pickle=False)
    except FileNotFoundError:
        yield "", "the index is missing"
        return
    except (OSError, ValueError, EOFError) as error:
        yield "", f"the index cannot be read: {error}"
        return
    if hashlib.sha256(data).hexdigest() != entry.index_sha256:
        yield "", "the index is not the one that the manifest names"
    if index.dtype != np.uint64 or index.ndim != 2 or index.shape[1] != 2:
        yield "", f"the index is {index.dtype} {index.shape}, expected uint64 (samples, 2)"
        return
    pointed = {(int(start), int(end)) for start, end in index}
    wrong = [key for start, end, key in ranges if (start, end) not in pointed]
    if wrong:
        yield wrong[0], f"the index does not point at {len(wrong)} samples, this one first"
    astray = len(pointed - {(start, end) for start, end, _ in ranges})
    if astray:
        yield "", f"the index points at {astray} places where no sample lies"
