"""Where photos come from: a folder tree, a list, a table, or tars that others wrote."""

import contextlib
import csv
import glob
import json
import os
from array import array
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, overload

from webdataset.shardlists import expand_urls

from rba.data.build.sizes import is_picture
from rba.data.fetch import is_url
from rba.data.tar_members import SUFFIXES, find_members
from rba.errors import InputError

# Also what needs a decoder that may be missing: such files are counted, not passed over.
PHOTO_SUFFIXES = SUFFIXES | {".heic", ".heif", ".avif", ".jxl"}
_COLUMNS = ("path", "file", "filename", "file_name", "image_path", "image", "url", "image_url")
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Photo:
    """One photo to read.

    Attributes:
        name: What reports call it.
        path: Relative to the list's root, or absolute, or a URL; of a tar where ``members`` is set.
        facts: What a table says of it.
        members: Suffix -> offset and size in the tar, for a photo in one.
    """

    name: str
    path: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    members: Mapping[str, tuple[int, int]] | None = None


class PhotoList(Sequence[tuple[str, Photo]]):
    """Names and photos in some hundred bytes each.

    Attributes:
        root: What relative paths start from.
        dropped: Reason and name of what was found and cannot be read.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.dropped: list[tuple[str, str]] = []
        self._text = bytearray()
        self._ends = array("Q")

    def append(self, photo: Photo) -> None:
        """Add a photo at the end."""
        facts = dict(photo.facts)
        text = json.dumps([photo.name, photo.path, facts, photo.members], default=str)
        self._text += text.encode()
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Photo]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, Photo]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, Photo] | list[tuple[str, Photo]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start = self._ends[index - 1] if index else 0
        name, path, facts, members = json.loads(self._text[start : self._ends[index]])
        return name, Photo(name, path, facts, members)


def list_photos(images: str, column: str = "") -> PhotoList:
    """Find the photos of an input.

    Args:
        images: A folder; a ``.txt`` of one path or URL a line; a ``.csv``, ``.tsv`` or ``.parquet``
            with a column of them; or tars of others, as a glob or brace pattern.
        column: The table's column of paths or URLs; empty = the first that is usual.

    Returns:
        Photos in an order that does not depend on the file system. Tars in a folder are opened,
        linked folders are not.

    Raises:
        InputError: If there is nothing to read.
    """
    path = Path(images).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        found = _in_folder(path)
    elif suffix == ".tar":
        found = _in_tars(str(path))
    elif path.is_file() and suffix in _READERS:
        found = _READERS[suffix](path, column)
    else:
        kinds = " ".join(_READERS)
        raise InputError(f"images={images} is not a folder, a list ({kinds}) or a pattern of .tar")
    if not found:
        reasons = sorted({reason for reason, _ in found.dropped})
        raise InputError(
            f"images={images} holds no picture"
            f"{' (' + ', '.join(reasons) + ')' if reasons else ''}; expected files ending in "
            f"{' '.join(sorted(PHOTO_SUFFIXES))}"
        )
    return found


def _in_folder(root: Path) -> PhotoList:
    found, names, dropped = PhotoList(str(root)), list[str](), list[tuple[str, str]]()

    def refused(error: OSError) -> None:
        reason = "no permission" if isinstance(error, PermissionError) else "unreadable folder"
        dropped.append((reason, _shown(os.path.relpath(error.filename, root))))

    for folder, folders, files in os.walk(root, onerror=refused):
        inside = os.path.relpath(folder, root)
        inside = "" if inside == "." else inside + os.sep
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        dropped += [("linked folder", _shown(inside + name)) for name in links]
        names += [
            inside + name
            for name in files
            if is_picture(name, PHOTO_SUFFIXES) or name.lower().endswith(".tar")
        ]
    found.dropped += sorted(dropped)
    for name in sorted(names):
        if name.lower().endswith(".tar"):
            _open_tar(found, name)
        else:
            found.append(Photo(_shown(name), name))
    return found


def _in_tars(pattern: str) -> PhotoList:
    paths = [
        name
        for expanded in expand_urls(pattern)
        for name in (sorted(glob.glob(expanded)) if glob.has_magic(expanded) else [expanded])
    ]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing or not paths:
        raise InputError(f"images={pattern}: there is no {missing[0] if missing else 'such tar'}")
    found = PhotoList(os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths]))
    for path in paths:
        _open_tar(found, os.path.relpath(path, found.root))
    return found


def _open_tar(found: PhotoList, name: str) -> None:
    samples, fault = find_members(Path(found.root) / name)
    for key, members in samples:
        found.append(Photo(_shown(f"{name}/{key}"), name, members=members))
    if fault is not None:
        found.dropped.append((fault, _shown(name)))


def _in_list(path: Path, _: str) -> PhotoList:
    found = PhotoList(str(path.parent))
    with _text(path) as lines:
        for line in lines:
            if where := line.strip():
                found.append(Photo(where, _expanded(where)))
    return found


def _in_csv(path: Path, column: str) -> PhotoList:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with _text(path) as lines:
        rows = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            return _in_rows(path, list(rows.fieldnames or ()), rows, column)
        except csv.Error as error:
            raise InputError(f"images={path}: line {rows.line_num}: {error}") from error


def _in_parquet(path: Path, column: str) -> PhotoList:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"images={path} needs pyarrow: pip install pyarrow") from None
    try:
        with ParquetFile(path) as table:
            batches = table.iter_batches(_ROWS_AT_A_TIME)
            rows = (row for batch in batches for row in batch.to_pylist())
            return _in_rows(path, list(table.schema_arrow.names), rows, column)
    except (ArrowException, OSError) as error:
        raise InputError(f"images={path} cannot be read as Parquet: {error}") from error


def _in_rows(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], column: str
) -> PhotoList:
    usual = [name for wanted in _COLUMNS for name in columns if name.lower() == wanted]
    chosen = column or next(iter(usual), "")
    if chosen not in columns:
        raise InputError(
            f"images={path} has no column {column or 'of paths or URLs'}; set column= to one of "
            f"{', '.join(columns)}"
        )
    found = PhotoList(str(path.parent))
    for number, row in enumerate(rows, 1):
        where = str(row[chosen] or "").strip()
        if not where:
            found.dropped.append(("no path in the table", f"row {number}"))
            continue
        facts = {key: value for key, value in row.items() if key and key != chosen}
        known = {k: v for k, v in facts.items() if v not in (None, "") and v == v}  # no NaN
        found.append(Photo(_shown(where), _expanded(where), known))
    return found


@contextlib.contextmanager
def _text(path: Path) -> Generator[TextIO]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise InputError(f"images={path} is not UTF-8 text: {error}") from error


def _expanded(where: str) -> str:
    return where if is_url(where) else os.path.expanduser(where)


def _shown(name: str) -> str:
    """Return a file's name as text that can be written, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "replace")


_READERS = {
    ".txt": _in_list,
    ".csv": _in_csv,
    ".tsv": _in_csv,
    ".parquet": _in_parquet,
}
