"""What each setting of precision, memory and speed brings beside float32 without any of them.

python benchmarks/levers.py [--scale tiny|paper] [--device cpu|cuda] [--rounds 3] [--steps 12]
    [--only WORD ...]

Each setting trains a network of random weights on made-up batches, the same pictures every other
step, in a process of its own, through
the trainer, callbacks and module that `train.py` uses; in each round all take turns, the plain one
first. ``tiny`` has the paper's parts with few channels, ``paper`` their full size (a GPU). Speed is
samples a second over the plain one's in the same round: of the processor's time on a CPU, of the
clock on a GPU; median, smallest and largest. Memory: what the process (CPU) or the device (GPU)
holds at most, imports left out. Loss: mean distance to the plain one's over all steps, relative.
"""

import argparse
import copy
import json
import logging
import multiprocessing
import os
import platform
import resource
import statistics
import time
import warnings
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader
from training_module import make_module
from training_scales import SCALES, Stream

from rba.settings import build, compose_config, plain, without_sources
from rba.training.callbacks.ema import EMACallback
from rba.training.run import make_trainer

PLAIN = "float32, eager"
TWICE = "autoencoder called twice"
LEVERS: dict[str, list[str]] = {
    PLAIN: [],
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    "bf16-true": ["trainer.precision=bf16-true"],
    "gradient checkpointing": ["callbacks.speed.gradient_checkpointing=true"],
    "channels-last": ["callbacks.speed.channels_last=true"],
    "fused AdamW": ["optimizer.factory.fused=true"],
    "8-bit AdamW": ["optimizer=adamw_8bit"],
    "frozen parts in bfloat16": ["callbacks.speed.frozen_dtype=bfloat16"],
    "average on the CPU": ["callbacks.ema.device=cpu"],
    TWICE: [],
    "latents and tokens kept, fixed examples": [
        "data.examples_per_sample=1",
        "callbacks.encoding_cache.gigabytes=1",
        "callbacks.encoding_cache.training=true",
    ],
    "compiled blocks": ["callbacks.speed.compile=inductor"],
    "bf16-mixed, frozen bfloat16, channels-last, compiled": [
        "trainer.precision=bf16-mixed",
        "callbacks.speed.frozen_dtype=bfloat16",
        "callbacks.speed.channels_last=true",
        "callbacks.speed.compile=inductor",
    ],
}
WARM_UP = 3  # steps that are not timed
PACKAGES = ("torch", "lightning", "diffusers", "transformers", "numpy", "bitsandbytes")
RESULTS = Path(__file__).parent / "results" / "levers.json"


class Watch(Callback):
    """Clock, processor's time and loss of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        """Start the clocks."""
        del args
        self._wait(trainer)
        self._started = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        """Read them."""
        del module, args
        self._wait(trainer)
        before = self._started
        self.steps.append((time.perf_counter() - before[0], time.process_time() - before[1]))
        self.losses.append(float(outputs["loss"]))

    def _wait(self, trainer: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()


def train(name: str, scale: str, device: str, steps: int, answers: Any) -> None:
    """Train with one setting and send what was measured."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    size, overrides = SCALES[scale]
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    chosen = ["experiment=paper", "trainer=cpu", f"trainer.accelerator={device}", *shards]
    chosen += ["trainer.devices=1", "optimizer.warmup_steps=0"]
    factory = [] if "optimizer=adamw_8bit" in LEVERS[name] else ["optimizer.factory.fused=false"]
    config = compose_config("train", [*chosen, *factory, *overrides, *LEVERS[name]])
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.manual_seed(0)
    network = build(without_sources(config.model.network))
    if name == TWICE:
        once = network.encode_images
        network.encode_images = lambda x: torch.cat([once(half) for half in x.chunk(2)])
    module = make_module(config, network)
    before = copy.deepcopy(network.unet.state_dict()) if scale == "tiny" else {}
    watch, ema = Watch(), EMACallback(0.9999, config.callbacks.ema.device)
    trainer = make_trainer(
        plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[build(config.callbacks[n]) for n in ("speed", "encoding_cache")] + [ema, watch],
        loggers=[],
        max_steps=steps,
        validate_every_n_steps=steps,
        accumulation=1,
        samples_file=None,
    )
    stream = Stream(config.model.image_size, config.model.reference_size, size)
    trainer.fit(module, DataLoader(stream, batch_size=None))
    after = network.unet.state_dict()
    moved = sum(int((after[k] != v.to(after[k].dtype)).sum()) for k, v in before.items())
    memory = (
        torch.cuda.max_memory_allocated() / 2**20
        if device == "cuda"
        else (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 2**10
    )
    clock, processor = (statistics.median(s) for s in zip(*watch.steps[WARM_UP:], strict=True))
    answers.put(
        {
            "samples_per_second": size / clock,
            "samples_per_processor_second": size / processor,
            "first_step_seconds": watch.steps[0][0],
            "peak_mib": memory,
            "losses": watch.losses,
            "moved": moved / max(1, sum(v.numel() for v in before.values())),
        }
    )


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train with one setting in a process of its own."""
    # A copy of this process has the imports done; the device is untouched until then.
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=train, args=(name, args.scale, args.device, args.steps, answers))
    child.start()
    child.join()
    if answers.empty():
        raise SystemExit(f"{name}: the process ended with {child.exitcode}")
    return answers.get()


def row(name: str, rounds: list[dict[str, dict[str, Any]]], device: str) -> dict[str, Any]:
    """Put the rounds of one setting together."""
    own, base = [r[name] for r in rounds], [r[PLAIN] for r in rounds]
    rate = "samples_per_second" if device == "cuda" else "samples_per_processor_second"
    losses = np.array([own[0]["losses"], base[0]["losses"]])
    return {
        "name": name,
        "settings": LEVERS[name],
        rate: _spread([one[rate] for one in own]),
        "speed_over_plain": _spread([a[rate] / b[rate] for a, b in zip(own, base, strict=True)]),
        "first_step_seconds": _spread([one["first_step_seconds"] for one in own]),
        "peak_mib": _spread([one["peak_mib"] for one in own]),
        "loss_distance": float(np.abs(losses[0] - losses[1]).mean() / losses[1].mean()),
        "weights_moved": own[0]["moved"],
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", choices=list(SCALES), default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--without", nargs="*", default=[], help="words in names to leave out")
    parser.add_argument(
        "--only", nargs="*", default=[], help="words in names; other rows of the file stay"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    names = [n for n in LEVERS if not any(word in n for word in args.without)]
    if args.only:
        names = [n for n in names if n == PLAIN or any(word in n for word in args.only)]
    names = [n for n in names if n != "8-bit AdamW" or _version("bitsandbytes")]
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(args.rounds):
        rounds.append({name: measure(name, args) for name in names})
        write(args, [row(name, rounds, args.device) for name in names], len(rounds))


def write(args: argparse.Namespace, rows: list[dict[str, Any]], rounds: int) -> None:
    """Print the table of all rounds so far and keep it."""
    for one in rows:
        speed, memory = one["speed_over_plain"], one["peak_mib"]["median"]
        print(
            f"{one['name']:60s} {speed['median']:.2f} ({speed['min']:.2f}-{speed['max']:.2f}) "
            f"{memory:7.0f} MiB  loss {one['loss_distance']:.1e}  "
            f"moved {one['weights_moved']:.3f}  "
            f"first step {one['first_step_seconds']['median']:.1f} s",
            flush=True,
        )
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        **{package: _version(package) for package in PACKAGES},
    }
    scale = {"scale": args.scale, "batch": SCALES[args.scale][0], "steps": args.steps}
    facts = {"date": str(date.today()), "machine": machine, **scale, "rounds": rounds, "rows": rows}
    if args.only and args.out.exists():
        own = {name: facts[name] for name in ("date", "steps", "rounds")} | {
            "load": machine["load"]
        }
        facts = json.loads(args.out.read_text())
        found = {one["name"]: one | own for one in rows if one["name"] != PLAIN}
        kept = [found.pop(one["name"], one) for one in facts["rows"]]
        facts["rows"] = [*kept, *found.values()]
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
