"""JSON lines by optimiser step, written by several ranks, each step once over resumes."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def json_line(facts: Mapping[str, Any]) -> str:
    """Return one line, with its end."""
    return f"{json.dumps(facts, ensure_ascii=False)}\n"


def append_line(path: Path, facts: Mapping[str, Any]) -> None:
    """Append one line, in one write: several ranks share the file.

    They lock it: a line of another rank that lies across two pages would look cut off while it is
    being written. A file system without locks goes without.

    Args:
        path: The file.
        facts: Plain containers; ``step`` is the optimiser step, from 0.

    Raises:
        OSError: If it cannot be written whole; readers pass over a part of a line.
    """
    line = json_line(facts).encode()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed, by a kill too
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # not to be lost with a part of one
            line = b"\n" + line
        if os.write(handle, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines that were written whole: a kill or a full disk cuts some off."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if line.endswith("\n") and isinstance(facts, dict):
            found.append(facts)  # pyright: ignore
    return found


def drop_lines_from(path: Path, step: int) -> None:
    """Remove the lines of optimiser step ``step`` and later, which will be done again."""
    if not path.exists():
        return
    partial = path.with_suffix(".partial")
    kept = (json_line(facts) for facts in whole_lines(path) if facts["step"] < step)
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)
