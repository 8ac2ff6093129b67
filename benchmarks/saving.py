"""How long a training waits for a resume checkpoint, in the background and not.

python benchmarks/saving.py [--scale tiny|paper] [--device cpu|cuda] [--saves 8]

Trains the network of `benchmarks/levers.py` and saves every third step into a temporary folder:
seconds of the call that saves, of the steps during and after it, and of steps without one.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader
from training_module import make_module
from training_scales import SCALES, Stream

from rba.settings import compose_config, plain
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint
from rba.training.run import make_trainer

EVERY = 3  # steps


class Clock(Callback):
    """Seconds from the end of one step's callbacks to those of the next."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._last = 0.0

    def on_train_batch_end(self, *args: Any) -> None:
        """Read it; belongs last."""
        del args
        now = time.perf_counter()
        self.steps.append(now - self._last)
        self._last = now


class Timed(ResumeCheckpoint):
    """Notes how long each save keeps the training."""

    waits: list[float]

    def _save(self, trainer: Any, *, may_fail: bool) -> None:
        started = time.perf_counter()
        super()._save(trainer, may_fail=may_fail)
        self.waits.append(time.perf_counter() - started)


def measure(scale: str, device: str, saves: int, *, background: bool) -> dict[str, float]:
    """Train and save; medians in seconds."""
    size, overrides = SCALES[scale]
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    config = compose_config(
        "train",
        [
            "experiment=paper",
            "trainer=cpu",
            f"trainer.accelerator={device}",
            "trainer.devices=1",
            *shards,
            *overrides,
        ],
    )
    torch.manual_seed(0)
    module = make_module(config)
    steps = EVERY * saves + 1
    with tempfile.TemporaryDirectory() as folder:
        saving, clock = Timed(folder, EVERY, background=background), Clock()
        saving.waits = []
        trainer = make_trainer(
            plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
            callbacks=[EMACallback(0.9999), saving, clock],
            loggers=[],
            max_steps=steps,
            validate_every_n_steps=steps,
            accumulation=1,
            samples_file=None,
        )
        stream = Stream(config.model.image_size, config.model.reference_size, size)
        trainer.fit(module, DataLoader(stream, batch_size=None))
        mib = max(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
    median = statistics.median
    after = [clock.steps[k] for k in range(EVERY, steps - 1, EVERY)]  # while it is written
    without = [clock.steps[k] for k in range(EVERY + 1, steps - 1, EVERY)]
    return {
        "checkpoint_mib": mib,
        "wait_seconds": median(saving.waits[:-1]),  # the last is always in the foreground
        "step_after_seconds": median(after),
        "other_step_seconds": median(without),
    }


def main() -> None:
    """Measure both and print them as JSON."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--saves", type=int, default=8)
    args = parser.parse_args()
    for name, background in (("foreground", False), ("background", True)):
        found = measure(args.scale, args.device, args.saves, background=background)
        facts = {name: found, "load": os.getloadavg()[0]}
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
