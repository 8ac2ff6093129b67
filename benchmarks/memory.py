"""The peak memory of training beside what `check=true` estimates, by batch and lever.

python benchmarks/memory.py [--device cpu|cuda] [--parts measured full counted growth] [--only WORD]

``measured``: two steps through the trainer, module and callbacks that `train.py` uses, each cell
in a process of its own. On a CPU the paper's parts with few channels; "tensors" are all storages,
counted one by one, "process" is what the kernel gave to the process, less libraries, with freed
memory handed back at once (`train.py` keeps it). On a GPU the paper's full size at 512 pixels;
"tensors" is what torch's allocator gave away at most, "process" what it reserved.
``full``: on the CPU, the full size of 860 M weights with the levers that 24 GiB allow.
``counted``: the estimate at full size, 512 pixels, bf16-mixed, for a GPU; nothing is measured.
``growth``: the same against batch and picture, into `results/growth/`.
"""

import argparse
import ctypes
import json
import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from growth import keep_growth
from loader import machine
from memory_cells import LEVERS, estimate, measure

from rba.errors import InputError
from rba.training import run

BATCHES = (1, 8, 24)
PACKAGES = ("torch", "lightning", "diffusers", "transformers", "peft", "numpy")
RESULTS = Path(__file__).parent / "results" / "memory.json"
TOLERANCE = 0.10
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
# Neither can be counted on tensors without memory; on a CPU neither saves memory of another device.
_ONLY_GPU = ("compiled blocks", "average on the CPU", "8-bit AdamW", "all that save")
_MAIN = ("no lever", "gradient checkpointing", "LoRA")  # on a CPU at every batch
_CURVES = ("no lever", "gradient checkpointing")
COMMAND = "python benchmarks/memory.py --parts"


def cell(**changes: Any) -> dict[str, Any]:
    """Return a training: the paper's with few channels on a CPU, and what is otherwise."""
    plain = {"scale": "tiny", "image_size": 128, "batch": 1, "precision": "32-true"}
    return plain | {"lever": "no lever", "device": "cpu"} | changes


def measured_cells(device: str) -> Iterator[dict[str, Any]]:
    """Yield what is measured."""
    if device == "cuda":
        full = {"scale": "paper", "image_size": 512, "device": "cuda", "precision": "bf16-mixed"}
        yield from (cell(**full, batch=b, lever=lever) for lever in LEVERS for b in BATCHES)
        yield from (cell(**full | {"precision": "bf16-true"}, batch=b) for b in BATCHES)
        return
    for batch in (8, 1, 24):
        for lever in _MAIN:
            yield cell(batch=batch, lever=lever)
        yield cell(batch=batch, precision="bf16-mixed")
    yield cell(batch=8, precision="bf16-mixed", lever="gradient checkpointing")
    yield cell(batch=8, precision="bf16-true")
    for lever in LEVERS:
        if lever not in (*_ONLY_GPU, *_MAIN):
            yield cell(batch=8, lever=lever)
    for lever in _CURVES:
        yield cell(batch=8, image_size=256, lever=lever)
        yield cell(image_size=512, lever=lever)


def full_cells(device: str) -> Iterator[dict[str, Any]]:
    """Yield what is measured of the 860 M network in 24 GiB of main memory."""
    if device == "cuda":  # it is what is measured there anyway
        return
    full = {"scale": "paper", "batch": 1}
    yield cell(**full, lever="LoRA", image_size=256)
    yield cell(**full, lever="LoRA, gradient checkpointing", image_size=512)
    yield cell(**full, precision="bf16-true", image_size=256)
    yield cell(**full, image_size=128)


def counted_cells() -> Iterator[dict[str, Any]]:
    """Yield what is counted for a GPU."""
    full = {"scale": "paper", "image_size": 512, "device": "cuda", "precision": "bf16-mixed"}
    levers = [lever for lever in LEVERS if lever != "compiled blocks"]
    yield from (cell(**full, batch=b, lever=lever) for lever in levers for b in BATCHES)
    yield from (cell(**full | {"precision": "bf16-true"}, batch=b) for b in BATCHES)


def compare(one: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Measure a cell and set the estimate beside it."""
    told = apart(estimate, one)
    found = apart(measure, one, scratch)
    row = one | {"estimate": told, "measured": found, "load": round(os.getloadavg()[0], 2)}
    if "together" in told and "tensors" in found:
        row |= {
            "estimate_over_tensors": round(told["together"] / found["tensors"], 3),
            "estimate_over_process": round(told["together"] / found["process"], 3),
        }
    tell(row)
    return row


def count(one: dict[str, Any]) -> dict[str, Any]:
    """Count a cell."""
    row = one | {"estimate": apart(estimate, one)}
    tell(row)
    return row


def tell(row: dict[str, Any]) -> None:
    """Print a cell's line."""
    told, found = row["estimate"], row.get("measured", {})
    name = f"{row['lever']}, {row['precision']}, {row['image_size']} px, batch {row['batch']}"
    line = f"{name:60s} estimate {told.get('together', 0):7.3f} GiB in {told.get('peak in')}"
    if "tensors" in found:
        line += f"; tensors {found['tensors']:7.3f}, process {found['process']:7.3f}"
    if "estimate_over_tensors" in row:
        line += f"; {row['estimate_over_tensors']:.3f} {row['estimate_over_process']:.3f}"
    print(line + str(told.get("failed", "")) + str(found.get("failed", "")), flush=True)


def apart(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Call a function in a copy of this process, which has the imports done."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def answer() -> None:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        started = time.process_time()
        try:
            found = function(*args)
        except (RuntimeError, InputError) as error:  # out of memory; no GPU, no bitsandbytes
            found = {"failed": str(error).splitlines()[0]}
        answers.put(found | {"processor_seconds": round(time.process_time() - started, 2)})

    child = context.Process(target=answer)
    child.start()
    child.join()
    if answers.empty():
        return {"failed": f"the process ended with {child.exitcode}"}
    return answers.get()


def grow(facts: dict[str, Any]) -> None:
    """Keep the curves of the counted peak."""
    full = {"scale": "paper", "device": "cuda", "precision": "bf16-mixed"}
    for lever in _CURVES:
        with_lever = "" if lever == "no lever" else f", {lever}"
        sizes = [(b, cell(**full, image_size=512, batch=b, lever=lever)) for b in _powers(1, 32)]
        sides = [(s * s, cell(**full, image_size=s, lever=lever)) for s in _powers(128, 2048)]
        for name, size, cells in (
            (f"Training memory by batch{with_lever}", "samples of 512 px a forward pass", sizes),
            (f"Training memory by picture{with_lever}", "pixels of one sample", sides),
        ):
            fitted = keep_growth(
                name,
                [(n, count(one)["estimate"]["together"]) for n, one in cells],
                size=size,
                cost="GiB on a GPU, counted",
                command=f"{COMMAND} growth",
                machine=facts,
            )
            print(name, fitted)


def _powers(first: int, last: int) -> list[int]:
    return [first << k for k in range((last // first).bit_length())]


def main() -> None:
    """Measure, print, write; parts and cells that are not chosen stay in the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--parts", nargs="*", default=["measured", "counted", "growth"])
    parser.add_argument("--only", default="", help="a word in the lever")
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    facts = machine(PACKAGES) | {"load": os.getloadavg()[0]}
    if args.device == "cpu":
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**17)  # what is freed goes back at once
        run.keep_freed_memory = lambda: False
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    cells = {"measured": measured_cells, "full": full_cells}
    for part in args.parts:
        if part == "growth":
            grow(facts)
            continue
        rows = list(counted_cells() if part == "counted" else cells[part](args.device))
        rows = [row for row in rows if args.only in row["lever"]]
        key = f"{part} on a GPU" if (part, args.device) == ("measured", "cuda") else part
        done = [r for r in kept.get(key, {}).get("rows", []) if args.only not in r["lever"]]
        for one in rows:
            done.append(count(one) if part == "counted" else compare(one, args.scratch))
            kept[key] = {"date": str(date.today()), "machine": facts, "rows": done}
            args.out.write_text(json.dumps(kept, indent=1) + "\n")
        worst = [r["estimate_over_tensors"] for r in done if "estimate_over_tensors" in r]
        if worst:
            print(f"{part}: {min(worst):.3f} to {max(worst):.3f} of the tensors measured; goal "
                  f"within {TOLERANCE:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
