"""What a shard set costs by its size, and the order by the number of its samples, in own processes.

python benchmarks/loader_scale.py growth | open FOLDER | order SAMPLES

Sets of many shards are hard links to one tar of tiny pictures under a made-up manifest; the order
and the manifest of 100 million samples have no files at all. ``growth`` measures many sizes by the
processor's time, which grows without what else the machine does, and writes curves; the others
print one line of JSON, by the clock.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_SAMPLES_PER_SHARD = 1000
_SHARDS = (10, 40, 160, 640, 2560, 10240)
_SAMPLES = tuple(10**6 * 4**k for k in range(6))
_CURVES = {  # case and figure: title, size, cost
    ("open", "open_seconds"): ("Opening a set", "shards", "s of processor"),
    ("open", "read_microseconds"): ("Reading one sample", "shards", "us of processor"),
    ("order", "manifest_seconds"): ("Reading a manifest", "samples", "s of processor"),
    ("order", "order_seconds"): ("Making the order", "samples", "s of processor"),
    ("order", "epoch_1000_seconds"): ("First place of epoch 1000", "samples", "s of processor"),
    ("order", "batch_of_192_seconds"): ("Places of a batch of 192", "samples", "s of processor"),
    ("order", "mib"): ("Memory of manifest and order", "samples", "MiB"),
}
_REPEATS = 3  # medians
_BATCHES = 20  # a median again: Python may look for garbage among a million entries in one of them
_clock = time.perf_counter


def measured(*arguments: str) -> dict[str, float]:
    """Run a case in a process of its own and return its figures."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def grow() -> None:
    """Measure sets of many shards and orders of many samples; write and print the curves."""
    from growth import keep_growth
    from loader import machine
    from loader_shards import link_shards, write_shards

    from rba.batch import Mode

    where = {**machine(), "load": os.getloadavg()}
    found: dict[str, list[tuple[int, dict[str, float]]]] = {"open": [], "order": []}
    with tempfile.TemporaryDirectory() as name:
        source = write_shards(Path(name) / "one", Mode.ALIGNMENT, 16, _SAMPLES_PER_SHARD, 1)
        for count in _SHARDS:
            made = str(link_shards(source, Path(name) / str(count), count))
            found["open"].append((count, _median("open", made)))
    for count in _SAMPLES:
        found["order"].append((count, _median("order", str(count))))
    for (case, figure), (title, size, cost) in _CURVES.items():
        points = [(count, row[figure]) for count, row in found[case]]
        command = "python benchmarks/loader_scale.py growth"
        fitted = keep_growth(title, points, size=size, cost=cost, command=command, machine=where)
        print(f"{title:<30}{fitted}  " + ", ".join(f"{x:g}: {y:.4g}" for x, y in points))


def _median(case: str, argument: str) -> dict[str, float]:
    rows = [measured(case, argument, "processor") for _ in range(_REPEATS)]
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


def opening(folder: str) -> dict[str, float]:
    """Open a set, read its first sample, then samples in the order of training."""
    from rba.batch import Mode
    from rba.data.order import SampleOrder
    from rba.data.shards import ShardSet

    before = _resident()
    shards, opened = _timed(lambda: ShardSet.open(folder, Mode.ALIGNMENT))
    order, ordered = _timed(lambda: SampleOrder(0, "alignment", shards.sizes))
    place, first = _timed(lambda: order.place(0))
    _, read = _timed(lambda: shards.read(place.shard, place.index))
    places, reads = [], []
    for position in range(1, 2000):
        place, seconds = _timed(lambda position=position: order.place(position))
        places.append(seconds)
        reads.append(_timed(lambda place=place: shards.read(place.shard, place.index))[1])
    return {
        "samples": len(shards),
        "open_seconds": opened,
        "order_seconds": ordered + first,
        "first_read_seconds": read,
        "place_microseconds": float(np.median(places)) * 1e6,
        "read_microseconds": float(np.median(reads)) * 1e6,
        "mib": (_resident() - before) / 2**20,
    }


def ordering(samples: int) -> dict[str, float]:
    """Read a manifest of so many samples from memory and make their order."""
    from rba.data.order import SampleOrder
    from rba.data.shards import parse_manifest

    count = samples // _SAMPLES_PER_SHARD
    data = _manifest(count)
    before = _resident()
    manifest, parsed = _timed(lambda: parse_manifest(data, "made up"))
    sizes = [entry["samples"] for entry in manifest["shards"]]
    order, made = _timed(lambda: SampleOrder(0, "alignment", sizes))
    _, first = _timed(lambda: order.place(0))
    _, middle = _timed(lambda: order.place(samples // 2))
    _, epoch = _timed(lambda: order.place(samples * 1000 + 1))
    starts = range(samples * 1000 + 2, samples * 1000 + 2 + 192 * _BATCHES, 192)
    batches = [_timed(lambda start=start: order.places(start, start + 192))[1] for start in starts]
    return {
        "samples": samples,
        "shards": count,
        "manifest_seconds": parsed,
        "order_seconds": made + first,
        "elsewhere_seconds": middle,
        "epoch_1000_seconds": epoch,
        "batch_of_192_seconds": float(np.median(batches)),
        "total_seconds": parsed + made + first,
        "mib": (_peak() - before) / 2**20,
    }


def _manifest(count: int) -> bytes:
    from rba.data.sample import SCHEMA_VERSION

    entries = [
        {"name": f"alignment-{number:06d}.tar", "samples": _SAMPLES_PER_SHARD, "bytes": 10**8,
         "sha256": f"{number:064x}", "index_sha256": f"{number:064x}"}
        for number in range(count)
    ]  # fmt: skip
    manifest = {"schema_version": SCHEMA_VERSION, "kind": "alignment", "shards": entries}
    return json.dumps(manifest).encode()


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = _clock()
    result = function()
    return result, _clock() - started


def _resident() -> int:
    """Return the bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    """Return the most that this program held; getrusage would tell of the process it came from."""
    line = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert line is not None
    return int(line[1]) * 1024


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if rest[1:] == ["processor"]:
        _clock = time.process_time
    if case == "growth":
        grow()
    else:
        print(json.dumps(opening(rest[0]) if case == "open" else ordering(int(rest[0]))))
