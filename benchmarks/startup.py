"""How long commands take before they do anything, beside what they are built on.

python benchmarks/startup.py [--rounds 5]

Each command is a process of its own; in each round all take turns, the bare ones first. Seconds of
the processor, user and system, because the clock of a shared machine tells of others; the clock is
kept beside them. ``check=true`` is that of the paper's configuration: full sizes, no weights.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from loader_shards import write_shards

from rba.batch import Mode

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "startup.json"
CASES: dict[str, Sequence[str]] = {
    "python": ("-c", "pass"),
    "torch and diffusers": ("-c", "import torch; from diffusers import DDIMScheduler"),
    "the same, U-Net and pipeline": (
        "-c",
        "import torch; from diffusers import UNet2DConditionModel, DiffusionPipeline; "
        "from transformers import Dinov2Model",
    ),
    "rba --help": ("-m", "rba.cli", "--help"),
    "rba refine, imported": ("-c", "import rba.inference.command, rba.inference.pipeline"),
}


def seconds(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return seconds of the processor and of the clock."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        shards = [
            f"data.{mode.value}.shards={write_shards(Path(scratch) / mode.value, mode, 64, 8, 2)}"
            for mode in Mode
        ]
        check = ("train.py", "experiment=paper", "check=true", f"runs_folder={scratch}", *shards)
        cases = CASES | {"check=true, the paper's": check}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(args.rounds):
            for name, command in cases.items():
                taken[name].append(seconds([sys.executable, *command], environment))
    rows = {}
    for name, runs in taken.items():
        processor, clock = zip(*runs, strict=True)
        rows[name] = {
            "processor": {"median": statistics.median(processor), "min": min(processor)},
            "clock": {"median": statistics.median(clock), "min": min(clock)},
        }
        print(f"{name:32s} {rows[name]['processor']['median']:6.2f} s of the processor, "
              f"{rows[name]['clock']['median']:6.2f} s ({min(clock):.2f} at best)")  # fmt: skip
    facts = {"date": str(date.today()), "load": os.getloadavg()[0], "rounds": args.rounds}
    facts |= {name: version(name) for name in ("torch", "diffusers", "transformers", "lightning")}
    args.out.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
