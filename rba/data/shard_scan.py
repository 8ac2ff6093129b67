"""One pass over a tar that anyone may have written: its samples, its digest, what is wrong with it.

Readers of WebDataset stop at the first damaged header as if the tar ended there; this one goes on.
"""

import dataclasses
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from webdataset.tariterators import base_plus_ext

_BLOCK = 512  # bytes; tar counts in blocks
_CHUNK = 2**20
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_META = re.compile(r"__[^/]*__($|/)")  # names that WebDataset skips


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a tar.

    Attributes:
        key: The sample it was found at, "" where it is the tar's.
        reason: What is wrong.
    """

    key: str
    reason: str


@dataclasses.dataclass
class TarSample:
    """Adjacent members of one key.

    Attributes:
        key: WebDataset's key: the name up to the first dot of its last part.
        start: Offset of the first member's header in the tar, bytes.
        end: Offset behind the last member's padding, bytes.
        members: Suffix in lower case -> bytes.
    """

    key: str
    start: int
    end: int
    members: dict[str, bytes] = dataclasses.field(default_factory=dict[str, bytes])


class TarScan:
    """Iterate once over the samples of a plain tar, one sample in memory at a time.

    Args:
        stream: Read once, from its beginning to its end.

    Attributes:
        problems: What was found so far; complete after the iteration.
        outside: Names of members that belong to no sample, which WebDataset skips as well:
            directories, ``__meta__`` files, names without a suffix.
        sha256: Digest of the whole file, valid after the iteration.
        size: Bytes of the whole file, valid after the iteration.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = _HashedStream(stream)
        self.problems: list[Problem] = []
        self.outside: list[str] = []

    @property
    def sha256(self) -> str:
        """Return the digest of what was read."""
        return self._stream.digest.hexdigest()

    @property
    def size(self) -> int:
        """Return the number of bytes that were read."""
        return self._stream.size

    @property
    def compression(self) -> str | None:
        """Return how the file is compressed, None where it is not."""
        return compression_of(self._stream.head)

    def __iter__(self) -> Iterator[TarSample]:
        seen: set[str] = set()
        sample: TarSample | None = None
        for key, suffix, start, end, data in self._members():
            if sample is None or key != sample.key:
                if sample is not None:
                    yield sample
                if key in seen:
                    self._add(key, "its members are not adjacent, or the key is there twice")
                seen.add(key)
                sample = TarSample(key, start, end)
            if suffix in sample.members:
                self._add(key, f"member {suffix!r} is there twice")
            sample.members[suffix] = data
            sample.end = end
        if sample is not None:
            yield sample

    def _members(self) -> Iterator[tuple[str, str, int, int, bytes]]:
        """Yield key, suffix, start, end and bytes of each member that belongs to a sample."""
        end, whole = 0, False
        try:
            # ignore_zeros also steps over blocks that are no header, to the next one that is.
            with tarfile.open(
                fileobj=self._stream, mode="r|", bufsize=_CHUNK, ignore_zeros=True
            ) as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # pyright: ignore  # tarfile would keep them all
                    if info.offset > end:
                        self._add_gap(end, info)
                    end = info.offset_data + (-(-info.size // _BLOCK) * _BLOCK if info.size else 0)
                    name = self._name_in_a_sample(info)
                    if name is not None:
                        stream = tar.extractfile(info)
                        assert stream is not None
                        yield *name, info.offset, end, stream.read()
                whole = True
        except tarfile.TarError as error:
            self._add("", f"the tar is cut short or damaged: {error}")
        self._stream.drain()
        if whole and not self.compression:
            self._check_end(end)

    def _name_in_a_sample(self, info: tarfile.TarInfo) -> tuple[str, str] | None:
        name = split_name(info.name)
        if name is None or info.isdir() or _META.match(info.name):
            self.outside.append(info.name)
            return None
        if not info.isreg() or info.issparse():
            self._add(name[0], f"member {info.name!r} is a link or no plain file")
            return None
        return name

    def _add(self, key: str, reason: str) -> None:
        self.problems.append(Problem(key, reason))

    def _add_gap(self, start: int, info: tarfile.TarInfo) -> None:
        lost = info.offset - start
        key, _ = split_name(info.name) or ("", "")
        self._add(
            key, f"{lost} bytes before member {info.name!r} (at byte {start}) are no tar header"
        )

    def _check_end(self, end: int) -> None:
        if self._stream.last_byte > end:
            self._add("", f"{self.size - end} bytes after the last member are no tar header")
        elif self.size - end < 2 * _BLOCK:
            self._add("", "the tar has no end mark, so it is cut short")


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member's name into key and suffix as WebDataset does; None where it has no suffix."""
    key, suffix = base_plus_ext(name)
    return None if key is None or suffix is None else (key, suffix.lower())


def compression_of(head: bytes) -> str | None:
    """Return the compression that the first bytes of a file tell, None for none we know."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


class _HashedStream(io.RawIOBase):
    """Hand out a stream's bytes in order, with their digest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0
        self.head = b""
        self.last_byte = 0  # offset behind the last byte that is not 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        if not self.size:
            self.head = data[:8]
        filled = len(data.rstrip(b"\0"))
        if filled:
            self.last_byte = self.size + filled
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass
