"""JSON lines by optimiser step, written by several ranks, each step once over resumes."""

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

    Args:
        path: The file.
        facts: Plain containers; ``step`` is the optimiser step, from 0.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, json_line(facts).encode())
    finally:
        os.close(handle)


def drop_lines_from(path: Path, step: int) -> None:
    """Remove the lines of optimiser step ``step`` and later, which will be done again."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    # A process killed while writing leaves at most one line without its end.
    whole = [line for line in lines if line.endswith("\n")]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line in whole if json.loads(line)["step"] < step))
    partial.replace(path)
