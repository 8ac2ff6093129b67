"""Tell what a check of shards found: lines for the terminal, and all of it as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rba.data.shard_faults import Fault, FaultTable


def write_fault_report(
    path: Path, facts: Mapping[str, Any], faults: FaultTable, notes: FaultTable
) -> None:
    """Write a JSON object: the facts, counts by check, and every fault and note, one a line.

    Raises:
        OSError: Naming the file, also where the disk is full.
    """
    try:
        with open(path, "w", encoding="utf-8") as stream:
            _write_object(stream, {**facts, "faults_by_check": _counts(faults)})
            for name, table in {"faults": faults, "notes": notes}.items():
                stream.write(f',\n "{name}": [')
                _write_lines(stream, table)
                stream.write("]")
            stream.write("\n}\n")
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def fault_summary(
    facts: Mapping[str, Any], faults: FaultTable, notes: FaultTable, shown: int
) -> str:
    """Return a table of counts, and the first faults with their shard and key.

    Args:
        facts: Shards, tars, samples, bytes, seconds, samples_per_second.
        faults: What is wrong.
        notes: What is only worth a line.
        shown: Faults that are listed, at most.
    """
    lines = [
        f"{facts['tars']:,} shards, {facts['samples']:,} samples, {facts['bytes'] / 1e6:,.1f} MB "
        f"read in {facts['seconds']:,.1f} s ({facts['samples_per_second']:,.1f} samples/s)"
    ]
    if not len(faults):
        lines.append("no fault")
    for title, table in (("fault", faults), ("note", notes)):
        if len(table):
            lines += ["", f"{title:<16}{'count':>10}{'shards':>10}"]
            counts = table.counts().items()
            lines += [f"{check:<16}{n:>10,}{shards:>10,}" for check, (n, shards) in counts]
            lines += ["", *(_line(fault) for fault in islice(table, shown))]
            if len(table) > shown:
                lines.append(f"... {len(table) - shown:,} more; json=PATH writes all")
    return "\n".join(lines)


def _line(fault: Fault) -> str:
    where = f"{fault.shard} {fault.key}" if fault.key else fault.shard
    return f"{where}: {fault.reason}"


def _counts(table: FaultTable) -> dict[str, int]:
    return {check: count for check, (count, _) in table.counts().items()}


def _write_object(stream: TextIO, facts: Mapping[str, Any]) -> None:
    """Write the entries of an object that is left open."""
    for number, (name, value) in enumerate(facts.items()):
        text = f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        stream.write(f"{',' if number else '{'}\n {text}")


def _write_lines(stream: TextIO, table: FaultTable) -> None:
    for number, fault in enumerate(table):
        stream.write(f"{',' if number else ''}\n  ")
        json.dump(dataclasses.asdict(fault), stream, ensure_ascii=False)
