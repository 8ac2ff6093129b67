"""A list of pairs: CSV, TSV or JSON lines with target and reference, masks, and whatever else."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from rba.data.objects.views import View, ViewPair
from rba.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl")
EXPECTED = "a .csv, .tsv or .jsonl of target, reference, target_mask, reference_mask, ..."
_OWN = ("target", "reference", "target_mask", "reference_mask", "correspondence", "object")


def read_pairs(path: Path, dropped: list[tuple[str, str]]) -> Iterator[ViewPair]:
    """Yield the pairs of a list.

    Args:
        path: The list; paths in it are relative to its folder, or absolute, or URLs.
        dropped: Takes reason and place of rows that name no pair.

    Raises:
        InputError: If the file is no such list.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = _json(lines) if path.suffix.lower() == ".jsonl" else _table(path, lines)
            for place, row in rows:
                pair = None if row is None else _pair(row)
                if pair is None:
                    dropped.append(("row without target and reference", f"{path.name} {place}"))
                else:
                    yield pair
    except UnicodeDecodeError as error:
        raise InputError(f"objects={path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"objects={path} cannot be read: {error.strerror}") from error


def _table(path: Path, lines: Any) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        columns = list(rows.fieldnames or ())
        missing = [name for name in _OWN[:2] if name not in columns]
        if missing:
            raise InputError(
                f"objects={path} has no column {missing[0]}; there are {', '.join(columns)}"
            )
        for row in rows:
            yield f"line {rows.line_num}", {k: v for k, v in row.items() if k and v}
    except csv.Error as error:
        raise InputError(f"objects={path}: line {rows.line_num}: {error}") from error


def _json(lines: Any) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                # NaN and Infinity are no JSON: other readers would stop at them.
                row = json.loads(line, parse_constant=lambda _: None)
                json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
            except (ValueError, RecursionError):
                row = None
            yield f"line {number}", row if isinstance(row, dict) else None


def _pair(row: Mapping[str, Any]) -> ViewPair | None:
    named = {name: row.get(name) for name in _OWN}
    if not all(value is None or isinstance(value, str) for value in named.values()):
        return None
    text = {name: (value or "").strip() for name, value in named.items()}
    if not text["target"] or not text["reference"]:
        return None
    target, reference = (View(text[name], text[f"{name}_mask"] or None) for name in _OWN[:2])
    above = PurePath(target.path).parent.as_posix()
    facts = {name: value for name, value in row.items() if name not in _OWN}
    object_ = text["object"] or ("list" if above == "." else above)
    return ViewPair(object_, target, reference, text["correspondence"] or None, facts)
