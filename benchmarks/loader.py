"""How fast the loader is beside a plain WebDataset pipeline, and what decoding alone would allow.

python benchmarks/loader.py [--rounds 3] [--seconds 1.0] [--scenes paper tiny] [--out FILE.json]

Four loops (see `loader_pipelines`) take turns in one run, for both modes, with 0, 1 and 2 workers:
``ours`` and ``plain`` give batches, ``bare`` records, ``bound`` examples. Figures are medians over
the rounds with the smallest and largest. Ratios are of samples a second of the processor's time, of
all processes together, and taken within a round: what else the machine does mostly cancels out.
Then what opening a set and reading from it costs by the number of its shards, and the order of 100
million samples.
"""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from loader_pipelines import BATCH, LOADERS, LOOPS, Scene, loop_rate
from loader_scale import measured
from loader_shards import link_shards, write_shards

from rba.batch import Mode

WORKERS = (0, 1, 2)
SCENES = {  # stored side in pixels, overrides of the configuration
    "paper": (512, ("experiment=paper",)),
    "tiny": (128, ("experiment=tiny",)),
    "large": (1024, ("experiment=paper",)),  # as the builders store photos by default
}
SAMPLES, SHARDS = 96, 4
SHARD_COUNTS = (10, 100, 1000)
HUGE = 100_000_000  # samples
GOALS = {"plain": 1.0, "bound": 0.85}  # least rate of ours over theirs
PACKAGES = ("torch", "lightning", "webdataset", "numpy", "opencv-python-headless", "simplejpeg",
            "albumentations", "pillow")  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "loader.json"

Figures = dict[tuple[str, Mode, int, str], dict[str, list[float]]]


def make_scene(name: str, folder: Path) -> Scene:
    """Write the shards of a scene."""
    side, overrides = SCENES[name]
    folders = {
        mode: write_shards(folder / name / mode.value, mode, side, SAMPLES, SHARDS) for mode in Mode
    }
    scene = Scene(name, overrides, folders)
    for mode in Mode:  # what is imported once must not count as the first batch's time
        next(LOADERS["ours"](scene, mode, 0))
    return scene


def measure_loader(
    loader: str, scene: Scene, mode: Mode, workers: int, seconds: float
) -> dict[str, float]:
    """Measure one loader once: time to its first batch, then its rate, then its memory."""
    started = time.perf_counter()
    batches = LOADERS[loader](scene, mode, workers)
    next(batches)
    first = time.perf_counter() - started
    for _ in range(workers):  # each worker has brought one
        next(batches)
    clock, processor, count = time.perf_counter(), processor_seconds(), 0
    while time.perf_counter() - clock < seconds or count % max(workers, 1):
        count += len(next(batches)) // BATCH
    rate = count * BATCH / (time.perf_counter() - clock)
    by_processor = count * BATCH / (processor_seconds() - processor)
    memory = _memory()
    del batches
    gc.collect()  # ends the workers
    return {"rate": rate, "processor_rate": by_processor, "first_batch": first, "mib": memory}


def measure_rates(scenes: list[Scene], rounds: int, seconds: float) -> Figures:
    """Measure all loops of all scenes, taking turns."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for scene in scenes:
            for mode in Mode:
                for workers in WORKERS:
                    for name in (*LOADERS, *LOOPS):
                        if name in LOADERS:
                            found = measure_loader(name, scene, mode, workers, seconds)
                        else:
                            rate, processor = loop_rate(name, scene, mode, workers, seconds)
                            found = {"rate": rate, "processor_rate": processor}
                        for figure, value in found.items():
                            figures[scene.name, mode, workers, name][figure].append(value)
    return figures


def rows(figures: Figures) -> list[dict[str, Any]]:
    """Return a dict a scene, mode and number of workers."""
    result = []
    for scene, mode, workers in dict.fromkeys(key[:3] for key in figures):
        row: dict[str, Any] = {"scene": scene, "mode": mode.value, "workers": workers}
        for name in (*LOADERS, *LOOPS):
            found = figures[scene, mode, workers, name]
            row[name] = {figure: _spread(values) for figure, values in found.items()}
        for other in GOALS:
            pairs = zip(
                figures[scene, mode, workers, "ours"]["processor_rate"],
                figures[scene, mode, workers, other]["processor_rate"],
                strict=True,
            )
            row[f"ours/{other}"] = _spread([a / b for a, b in pairs])
        result.append(row)
    return result


def print_rates(table: list[dict[str, Any]]) -> None:
    """Print a line a scene, mode and number of workers."""
    loops = (*LOADERS, *LOOPS)
    head = f"{'scene':<7}{'mode':<12}{'workers':>7}" + "".join(f"{name:>9}" for name in loops)
    head += "".join(f"{f'ours/{other}':>18}" for other in GOALS)
    print("\nsamples/s by the clock, ratios by the processor; first batch, resident memory")
    print(f"{head}{'first s':>9}{'plain s':>9}{'MiB':>7}{'plain':>7}")
    for row in table:
        line = f"{row['scene']:<7}{row['mode']:<12}{row['workers']:>7}"
        line += "".join(f"{row[name]['rate']['median']:>9.1f}" for name in loops)
        for other in GOALS:
            ratio = row[f"ours/{other}"]
            line += f"{ratio['median']:>7.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"
        for figure, digits in (("first_batch", 2), ("mib", 0)):
            for name in LOADERS:
                line += f"{row[name][figure]['median']:>{9 if digits else 7}.{digits}f}"
        print(line)


def measure_scale(folder: Path) -> list[dict[str, float]]:
    """Measure sets of many shards and the order of very many samples."""
    source = write_shards(folder / "one", Mode.ALIGNMENT, 16, 1000, 1)
    found = []
    for count in SHARD_COUNTS:
        made = link_shards(source, folder / f"linked-{count}", count)
        found.append({"shards": count, **measured("open", str(made))})
    return [*found, measured("order", str(HUGE))]


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return where and with what the figures were taken."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": date.today().isoformat(),
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": min(values), "most": max(values)}


def _processes() -> list[int]:
    """Return the numbers of this process and its workers."""
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]


def processor_seconds() -> float:
    """Return what this process and its workers have computed for."""
    ticks = 0
    for process in _processes():
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user, system
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory() -> float:
    """Return the MiB of this process and its workers, what they share counted once."""
    total = 0
    for process in _processes():
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def main() -> None:
    """Read the command line, measure, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=["paper", "tiny"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]  # processes that want a core: above the cores, clock rates say little
    with tempfile.TemporaryDirectory() as name:
        scenes = [make_scene(scene, Path(name)) for scene in arguments.scenes]
        table = rows(measure_rates(scenes, arguments.rounds, arguments.seconds))
        print_rates(table)
        scale = measure_scale(Path(name) / "scale")
    print("\nby the number of shards and samples")
    for entry in scale:
        cells = (f"{key.replace('_', ' ')} {value:.4g}" for key, value in entry.items())
        print("  " + ", ".join(cells))
    run = {"rounds": arguments.rounds, "seconds": arguments.seconds, "load_before": load}
    found = {"machine": machine(), "run": run, "goals": GOALS, "rates": table, "scale": scale}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwritten to {arguments.out}")


if __name__ == "__main__":
    main()
