"""A training step of ours beside the loop that a user would write after diffusers' examples.

python benchmarks/training_step.py [--scale tiny|paper] [--device cpu|cuda] [--rounds 40]

One process, two copies of one network of random weights, strictly alternating steps on the same
made-up batches. Ours goes through the trainer, module and callbacks that `train.py` uses: loss,
fused AdamW, clipping, skipped updates, average. The reference encodes masked and clean image one
after the other, takes noise and timesteps from torch's generator, then `mse_loss`,
`clip_grad_norm_`, AdamW, a constant schedule and diffusers' `EMAModel`, at the settings that those
examples have by default. It gets floats that are ready; ours turns the bytes of its loader into
floats. On a CPU both have freed memory kept (`rba.host_memory`), as the trainer does it
for the process.

``tiny`` has the paper's parts with few channels, ``paper`` their full size (a GPU).

Time is the processor's on a CPU (a shared machine's clock tells of others), the clock on a GPU.
"Step" is `training_step`, backward, optimiser and average; "loop" is all from one batch to the
next, Lightning and every callback included. Waits: what lets the host stand still for the device
in a step of ours, counted by the function that asks. Utilisation: the counted operations of the
network's matrices and convolutions, forward and backward, over those that one large matrix product
of the same precision does in the time of the loop; "largest" is what a profiled step spends it on.
"""

import argparse
import collections
import copy
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader
from training_module import make_module
from training_reference import Reference, Waits
from training_scales import SCALES, Stream
from utilisation import count_flops, largest, make_profile, matrix_rate

from rba.batch import Batch
from rba.settings import build, compose_config, plain, without_sources
from rba.training.run import make_trainer

WARM_UP = 4  # steps that are not timed
EXTRA = 2  # nor are those at the end: one profiled, one whose waits are counted
RESULTS = Path(__file__).parent / "results" / "training_step.json"


class Beside(Callback):
    """After each step of ours, one of the reference; the clocks of both."""

    def __init__(self, reference: Callable[[int], None], device: str) -> None:
        self.reference, self.clock = reference, clock_of(device)
        self.profile = make_profile(device)
        self.loop: list[float] = []
        self.theirs: list[float] = []
        self.steps: list[float] = []
        self.waits = collections.Counter[str]()
        self._mode: Waits | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._last = self.clock()

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the step's clock; in the last steps profile and count waits instead."""
        del pl_module, batch, batch_idx
        if trainer.global_step == trainer.max_steps - 2:
            self.profile.__enter__()
        if trainer.global_step == trainer.max_steps - 1:
            self._mode = Waits()
            self._mode.__enter__()
        self._begun = self.clock()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the clocks, run the reference, read them again."""
        del pl_module, outputs, batch, batch_idx
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self.waits = self._mode.places
        elif trainer.global_step == trainer.max_steps - 1:  # the step before it has ended
            self.profile.__exit__(None, None, None)
        ended = self.clock()
        self.loop.append(ended - self._last)
        self.steps.append(ended - self._begun)
        self.reference(trainer.global_step - 1)
        self._last = self.clock()
        self.theirs.append(self._last - ended)


def floats(batch: Batch) -> dict[str, torch.Tensor]:
    """Return what the example trainers' own loader would give."""
    ready = batch.normalized()
    return {
        "pixels": ready.image,
        "masked_pixels": ready.masked_image,
        "mask": ready.artifact_mask,
        "reference": ready.reference,
    }


def clock_of(device: str) -> Callable[[], float]:
    """Return the clock that the ratio is made of."""
    if device == "cpu":
        return time.process_time

    def waited() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return waited


def compose(args: argparse.Namespace) -> Any:
    """Return the paper's settings at the scale, as `train.py` would have them."""
    chosen = ["experiment=paper", "trainer=cpu", f"trainer.accelerator={args.device}"]
    chosen += ["data.alignment.shards=a", "data.refinement.shards=b", "optimizer.warmup_steps=0"]
    chosen += ["trainer.devices=1"]
    return compose_config("train", [*chosen, *SCALES[args.scale][1], *args.settings])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run both and return the figures."""
    config = compose(args)
    torch.manual_seed(0)
    network, scheduler = build(without_sources(config.model.network)), build(config.model.scheduler)
    reference = Reference(copy.deepcopy(network), scheduler, config, args.device)
    module = make_module(config, network)
    size = args.batch or SCALES[args.scale][0]
    stream = iter(Stream(config.model.image_size, config.model.reference_size, size))
    batches = [next(stream) for _ in range(4)]
    ready = [floats(batch) for batch in batches]
    beside = Beside(lambda step: reference.step(ready[step % 4]), args.device)
    wanted = ("speed", "skip_non_finite", "ema", "preemption")
    args.scratch.mkdir(parents=True, exist_ok=True)
    config.callbacks.skip_non_finite.path = str(args.scratch / "non_finite.jsonl")
    trainer = make_trainer(
        plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[*(build(config.callbacks[name]) for name in wanted), beside],
        loggers=[],
        max_steps=args.rounds + WARM_UP + EXTRA,
        validate_every_n_steps=args.rounds + WARM_UP + EXTRA,
        accumulation=1,
        samples_file=None,
    )
    loader = DataLoader(Again(batches, args.rounds + WARM_UP + EXTRA), batch_size=None)
    trainer.fit(module, loader)
    measured = figures(args, beside, size)
    measured["flops"] = count_flops(lambda: reference.step(ready[0]))
    dtype = torch.bfloat16 if "bf16" in str(config.trainer.precision) else torch.float32
    rate = matrix_rate(args.device, dtype)
    used = measured["flops"] / measured["loop_seconds"]["median"] / rate
    return measured | {"matrix_rate": rate, "utilisation": used}


class Again(torch.utils.data.IterableDataset[Batch]):
    """The same batches round and round."""

    def __init__(self, batches: list[Batch], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Any:
        """Yield them."""
        return (self.batches[step % len(self.batches)] for step in range(self.count))


def figures(args: argparse.Namespace, beside: Beside, size: int) -> dict[str, Any]:
    """Return medians and spread of the steps that are timed."""
    kept = slice(WARM_UP, WARM_UP + args.rounds)
    loop, step, theirs = beside.loop[kept], beside.steps[kept], beside.theirs[kept]
    return {
        "batch": size,
        "rounds": len(loop),
        "loop_over_reference": _spread([a / b for a, b in zip(loop, theirs, strict=True)]),
        "step_over_reference": _spread([a / b for a, b in zip(step, theirs, strict=True)]),
        "reference_seconds": _spread(theirs),
        "step_seconds": _spread(step),
        "loop_seconds": _spread(loop),
        "waits_in_a_step": dict(beside.waits),
        "largest": largest(beside.profile, args.device),
    }


def _spread(values: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return {"median": statistics.median(values), "quarter": low, "three_quarters": high}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", choices=list(SCALES), default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("settings", nargs="*", help="overrides of conf/train.yaml, for both")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    measured = measure(args)
    for name in ("step", "loop"):
        spread = measured[f"{name}_over_reference"]
        print(f"{name} over reference: {spread['median']:.3f} "
              f"({spread['quarter']:.3f}-{spread['three_quarters']:.3f})")  # fmt: skip
    rate = measured["batch"] / measured["loop_seconds"]["median"]
    print(f"{rate:.2f} samples/s, {measured['flops'] / 1e9:.2f} GFLOP a step")
    print(f"{measured['utilisation']:.2f} of {measured['matrix_rate'] / 1e9:.1f} GFLOP/s")
    for row in measured["largest"][:8]:
        print(f"  {row['share']:6.1%} {row['calls']:6d} calls  {row['operation']}")
    print(f"waits of a step: {measured['waits_in_a_step']}")
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        **{package: version(package) for package in ("torch", "lightning", "diffusers")},
    }
    facts = {"date": str(date.today()), "machine": machine, "scale": args.scale}
    facts |= {"settings": args.settings, **measured}
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
