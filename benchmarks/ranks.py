"""What our code costs a rank by the number of ranks: a step, what ranks tell each other, a save.

python benchmarks/ranks.py [--ranks 1 2 4 8 16] [--steps 24]

Each count is a run of its own: the trainer, strategy (DDP on the CPU, gloo), module and callbacks
that `train.py` uses, a network of few weights and one made-up sample a rank, so that what grows is
ours, gloo's or Lightning's. Many processes share few cores here, so that the clock says nothing:
figures are the processor's seconds of one rank (median over ranks), and counts. What ranks tell
each other is taken from torch's profiler, of a plain step and of one that logs: how many
collectives, and bytes of this rank's part, gradients apart from the rest.

Then the places of a rank's batch in the order of ten million samples, for up to 4,096 ranks.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from growth import keep_growth
from lightning.pytorch import Callback, LightningDataModule
from loader import machine
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from training_module import make_module
from training_scales import SCALES, Stream

from rba.data.order import SampleOrder
from rba.data.stream import BatchSplit
from rba.settings import build, compose_config, plain
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint
from rba.training.run import make_trainer

WARM_UP = 4
CALLBACKS = ("skip_non_finite", "ema", "bad_samples", "progress_log", "preemption")
WORLDS = (1, 4, 16, 64, 256, 1024, 4096)
SAMPLES, SHARD = 10_000_000, 1000
PACKAGES = ("torch", "lightning", "numpy")
RESULTS = Path(__file__).parent / "results" / "ranks.json"
UNET = "model.network.unet.architecture"
SMALL = [
    *(s for s in SCALES["tiny"][1] if "image_size" not in s and "unet" not in s),
    "model.image_size=64",
    f"{UNET}.block_out_channels=[8,8,8,8]",
    f"{UNET}.norm_num_groups=4",
    f"{UNET}.attention_head_dim=2",
    f"{UNET}.cross_attention_dim=96",
]


class Data(LightningDataModule):
    """Made-up batches under the names that callbacks ask of the data module."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def train_dataloader(self) -> Any:
        """Return batches without end."""
        return DataLoader(self.stream, batch_size=None)

    def describe(self) -> dict[str, Any]:
        """Name no modes."""
        return {}

    def epochs(self, step: int) -> dict[str, float]:
        """Name no epochs."""
        del step
        return {}

    def samples_read(self, step: int, *, validation: bool) -> int:
        """Return how many samples were read."""
        del validation
        return step


class Save(ResumeCheckpoint):
    """Notes the processor's seconds of a save."""

    seconds = 0.0

    def _save(self, trainer: Any, *, may_fail: bool) -> None:
        begun = time.process_time()
        super()._save(trainer, may_fail=may_fail)
        self.seconds = time.process_time() - begun


class Account(Callback):
    """Takes a rank's figures: set-up, steps, then one plain step and one that logs, profiled."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.found: dict[str, Any] = {}
        self._profile: profile | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Note what came before."""
        del trainer
        self.found["set_up_seconds"] = time.process_time()
        gradients = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        self.found["gradient_bytes"] = 4 * gradients

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin what the step is for."""
        del pl_module, batch, batch_idx
        step = trainer.global_step
        if step == WARM_UP:
            self._begun = time.process_time()
        if step == WARM_UP + self.steps:
            seconds = time.process_time() - self._begun
            self.found["step_seconds"] = seconds / self.steps
        if step >= WARM_UP + self.steps and trainer.is_global_zero:  # its reading takes long
            self._profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
            self._profile.__enter__()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what the ranks told each other."""
        del pl_module, outputs, batch, batch_idx
        if self._profile is None:
            return
        self._profile.__exit__(None, None, None)
        kind = "plain" if trainer.global_step < trainer.max_steps else "logging"
        events: Any = self._profile.events()
        told = [e for e in events if e.name.startswith("gloo:")]
        sizes = [max(_numbers(event.input_shapes), 1) * 4 for event in told]
        self.found[kind] = {
            "collectives": len(told),
            "names": sorted(e.name for e in told),
            "bytes": sum(sizes),
            "bytes_but_gradients": sum(size for size in sizes if size < 4096),
        }


def _numbers(shape: Any) -> int:
    """Count the numbers of nested shapes; the profiler shows that of one number as empty."""
    if shape and isinstance(shape[0], (list, tuple)):
        return sum(_numbers(one) for one in shape)
    return torch.Size(shape).numel()


def one_run(folder: Path, ranks: int, steps: int) -> None:
    """Train as one of so many ranks, and write this rank's figures."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    total = WARM_UP + steps + 2
    config = compose_config(
        "train",
        ["experiment=paper", "trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={ranks}",
         "trainer.precision=32-true", f"runs_folder={folder}", f"run_name=run{ranks}", *SMALL,
         "data.alignment.shards=a", "data.refinement.shards=b",
         f"callbacks.progress_log.every_n_steps={total}",
         f"callbacks.bad_samples.every_n_steps={total}"],
    )  # fmt: skip
    run = folder / f"run{ranks}"
    run.mkdir(exist_ok=True)
    torch.manual_seed(0)
    module = make_module(config)
    account, save = Account(steps), Save(run / "checkpoints", 10**6)
    trainer = make_trainer(
        plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[*(build(config.callbacks[name]) for name in CALLBACKS), account, save],
        loggers=[], max_steps=total, validate_every_n_steps=total, accumulation=1,
        samples_file=None,
    )  # fmt: skip
    stream = Stream(config.model.image_size, config.model.reference_size, 1)
    trainer.fit(module, datamodule=Data(stream))
    account.found["save_seconds"] = save.seconds
    (folder / f"{ranks}-{trainer.global_rank}.json").write_text(json.dumps(account.found))


def measure(folder: Path, ranks: int, steps: int) -> dict[str, Any]:
    """Run with so many ranks; return medians over them, counts of the first, its save."""
    command = [sys.executable, __file__, "--one", str(folder), "--ranks", str(ranks)]
    subprocess.run([*command, "--steps", str(steps)], check=True, timeout=900)
    found = [json.loads((folder / f"{ranks}-{r}.json").read_text()) for r in range(ranks)]
    middle = {
        name: statistics.median(one[name] for one in found)
        for name in ("set_up_seconds", "step_seconds")
    }
    spread = [one["step_seconds"] for one in found]
    first = found[0]
    return {
        "ranks": ranks, **middle, "step_seconds_least": min(spread),
        "step_seconds_most": max(spread), "save_seconds_rank_0": first["save_seconds"],
        "gradient_bytes": first["gradient_bytes"], "plain": first["plain"],
        "logging": first["logging"], "load": os.getloadavg()[0],
    }  # fmt: skip


def place_microseconds(world: int, each: int = 4, batches: int = 400) -> float:
    """Return the processor's microseconds for the places of the last rank's batch of a step."""
    order = SampleOrder(0, "alignment", [SHARD] * (SAMPLES // SHARD))
    split = BatchSplit(
        global_batch=each * world, per_device_batch=each, world_size=world, rank=world - 1
    )
    found = []
    for step in range(batches):
        begun = time.process_time_ns()
        for offset in split.offsets(0):
            order.place(step * split.global_batch + offset)
        found.append((time.process_time_ns() - begun) / 1e3)
    return statistics.median(found[10:])


def keep_curves(rows: list[dict[str, Any]], places: list[tuple[int, float]], folder: Path) -> None:
    """Write the growth curves."""
    command, about = "python benchmarks/ranks.py", machine(PACKAGES)
    curves = {
        "step of a rank": ("processor seconds", [(r["ranks"], r["step_seconds"]) for r in rows]),
        "start of a rank": ("processor seconds", [(r["ranks"], r["set_up_seconds"]) for r in rows]),
        "save by ranks": (
            "processor seconds of rank 0", [(r["ranks"], r["save_seconds_rank_0"]) for r in rows],
        ),
        "places of a rank's batch": ("processor microseconds", places),
    }  # fmt: skip
    for name, (cost, points) in curves.items():
        fitted = keep_growth(
            name, points, size="ranks", cost=cost, command=command, machine=about, folder=folder
        )
        print(f"{name}: {fitted}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        one_run(args.one, args.ranks[0], args.steps)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for ranks in args.ranks:
            rows.append(measure(Path(name), ranks, args.steps))
            print(rows[-1], flush=True)
    places = [(world, place_microseconds(world)) for world in WORLDS]
    print(places)
    if len(rows) > 1:
        keep_curves(rows, places, args.out.parent / "growth")
    facts = {"machine": machine(PACKAGES), "steps": args.steps, "rows": rows,
             "places_microseconds": places}  # fmt: skip
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
