"""How long a device waits for data, against the samples a second that it asks for.

python benchmarks/data_wait.py [--rounds 3] [--seconds 6] [--demands 10 20 ...]

The whole loop of `train.py` at the paper's data settings (512 px, references of 224 px, alignment
and refinement 1:1): shards, loader, decoding, augmentation, Lightning, our module, optimiser and
callbacks. In the network's place stands a device that takes a set time for a batch and uses no
processor. The host queues work for it and goes on, at most one batch ahead, as it does where no
step waits; "waiting host" stands still until a batch is done, as it must where it asks the device
for a number in each step.

Share: of the time, in which the device had nothing to do. It starts when what the workers had
made ahead is used up. Without workers, all is one process, and the time is its processor's plus
what it would sleep, as on a machine of its own. With workers it is the clock's, to which other
programs only add: beside the medians stands the quietest round, and the load in the JSON.
"""

import argparse
import itertools
import json
import logging
import math
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch
from lightning.pytorch import Callback
from loader import machine, processor_seconds
from loader_pipelines import BATCH
from loader_shards import write_shards
from torch import Tensor
from training_module import make_module
from training_scales import SCALES

from rba.batch import Batch, Mode
from rba.settings import build, compose_config, plain
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer

DEMANDS = (15, 30, 45, 60, 80, 120)  # samples a second
HOSTS = {  # workers, whether the host waits for the device
    "0 workers": (0, False),
    "0 workers, waiting host": (0, True),
    "1 worker": (1, False),
    "2 workers": (2, False),
}
H200 = 82.0  # samples a second at 40 % of its peak (benchmarks/scale.py)
SETTLE = 1.0  # seconds at the demand before it counts
RESULTS = Path(__file__).parent / "results" / "data_wait.json"
CALLBACKS = ("skip_non_finite", "ema", "bad_samples", "progress_log", "preemption")
PACKAGES = ("torch", "lightning", "numpy", "opencv-python-headless", "simplejpeg")


class Own:
    """The time of one process that has a core to itself: its processor's, and its sleep."""

    def __init__(self) -> None:
        self._slept = 0.0

    def now(self) -> float:
        """Return seconds."""
        return time.process_time() + self._slept

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._slept += seconds


class Wall:
    """The time of all."""

    now = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)


class Device:
    """Takes a set time for a batch, in the order in which batches come."""

    def __init__(self, time: Own | Wall, waits: bool) -> None:
        self.time, self.waits = time, waits
        self.seconds = 0.0  # a batch
        self.idle = 0.0
        self._free = time.now()

    def queue(self) -> None:
        """Give it a batch; come back when the one before is done, or this one if the host waits."""
        now = self.time.now()
        self.idle += max(0.0, now - self._free)
        before = max(now, self._free)
        self._free = before + self.seconds
        until = self._free if self.waits else before
        self.time.sleep(max(0.0, until - self.time.now()))


class StandIn(RefineByAlignModule):
    """Our module with a device in the place of its network's work."""

    device_of_time: Device

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Hand the batch to the device; the loss costs nothing."""
        del batch, batch_idx
        self.device_of_time.queue()
        return next(p for p in self.parameters() if p.requires_grad).flatten()[0] * 0.0


class Clock(Callback):
    """Drains what was made ahead, then measures for some seconds at the demand, then ends."""

    def __init__(self, device: Device, ahead: int, demand: float, seconds: float) -> None:
        self.device, self.ahead, self.demand, self.seconds = device, ahead, demand, seconds
        self.found: dict[str, float] = {}
        self._at_demand = self._begun = 0.0

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock."""
        del pl_module, outputs, batch, batch_idx
        step, now = trainer.global_step, self.device.time.now()
        if step == self.ahead + 2:
            self.device.seconds = BATCH / self.demand
            self._at_demand = now
        if not self._at_demand:
            return
        if not self._begun and now - self._at_demand >= SETTLE:
            self._begun, self._from, self._idle = now, step, self.device.idle
            self._processor = processor_seconds()
        elif self._begun and now - self._begun >= self.seconds:
            passed, samples = now - self._begun, (step - self._from) * BATCH
            self.found = {
                "share": (self.device.idle - self._idle) / passed,
                "samples_per_second": samples / passed,
                "samples_per_processor_second": samples / (processor_seconds() - self._processor),
            }
            trainer.should_stop = True


def measure(folder: Path, host: str, demand: float, seconds: float) -> dict[str, float]:
    """Train for some seconds and return the device's idle share."""
    workers, waits = HOSTS[host]
    small = [s for s in SCALES["tiny"][1] if "image_size" not in s and "unet" not in s]
    unet = "model.network.unet.architecture"
    config = compose_config(
        "train",
        ["experiment=paper", "trainer=cpu", "trainer.devices=1", f"runs_folder={folder}", *small,
         f"{unet}.block_out_channels=[8,8,8,8]", f"{unet}.norm_num_groups=4",
         f"{unet}.attention_head_dim=2", f"{unet}.cross_attention_dim=96",
         *(f"data.{mode.value}.shards={folder / mode.value}" for mode in Mode),
         f"global_batch={BATCH}", f"per_device_batch={BATCH}", f"data.num_workers={workers}"],
    )  # fmt: skip
    (folder / "paper").mkdir(exist_ok=True)
    module = make_module(config, kind=StandIn)
    device = module.device_of_time = Device(Wall() if workers else Own(), waits)
    ahead = workers * config.data.prefetch
    clock = Clock(device, ahead, demand, seconds)
    trainer = make_trainer(
        plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[*(build(config.callbacks[name]) for name in CALLBACKS), clock],
        loggers=[], max_steps=10**6, validate_every_n_steps=10**6, accumulation=1,
        samples_file=None,
    )  # fmt: skip
    trainer.fit(module, datamodule=build(config.data))
    return clock.found | {"load": os.getloadavg()[0]}


def passes(curve: list[tuple[float, float]], share: float) -> float | None:
    """Return the demand at which a curve of (demand, share) passes a share, between its points."""
    for (low, before), (high, after) in itertools.pairwise(curve):
        if before < share <= after:
            return low + (high - low) * (share - before) / (after - before)
    return None


def summary(cells: dict[tuple[str, float], list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians by host and demand, and where each host's curve passes 1 and 5 %."""
    hosts: dict[str, Any] = {}
    for host in HOSTS:
        rows = []
        for demand in dict.fromkeys(demand for _, demand in cells):
            found = cells[host, demand]
            row = {name: statistics.median(f[name] for f in found) for name in found[0]}
            spread = [f["share"] for f in found]
            rows.append({"demand": demand, **row, "least": min(spread), "most": max(spread)})
        curve = [(row["demand"], row["share"]) for row in rows]
        quietest = [(row["demand"], row["least"]) for row in rows]
        # What it gives where it is not held back.
        last = rows[-1]
        hosts[host] = {
            "rows": rows,
            "passes_1_percent_at": passes(curve, 0.01),
            "passes_5_percent_at": passes(curve, 0.05),
            "quietest_passes_1_percent_at": passes(quietest, 0.01),
            "quietest_passes_5_percent_at": passes(quietest, 0.05),
            "most_samples_per_second": last["samples_per_second"],
            "samples_per_processor_second": last["samples_per_processor_second"],
        }
    return hosts


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--demands", type=float, nargs="+", default=list(DEMANDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    cells: dict[tuple[str, float], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for mode in Mode:
            write_shards(Path(name) / mode.value, mode, 512, 96, 4)
        for _ in range(args.rounds):
            for demand in sorted(args.demands):
                for host in HOSTS:
                    found = measure(Path(name), host, demand, args.seconds)
                    cells.setdefault((host, demand), []).append(found)
                    print(f"{demand:5.0f}/s, {host:24s} idle {found['share']:6.1%}, "
                          f"{found['samples_per_second']:6.1f}/s, load {found['load']:.1f}",
                          flush=True)  # fmt: skip
    hosts = summary(cells)
    for host, found in hosts.items():
        one, five = (found[f"passes_{n}_percent_at"] or math.nan for n in (1, 5))
        print(f"{host:24s} 1 % at {one:.0f}/s, 5 % at {five:.0f}/s, "
              f"at most {found['most_samples_per_second']:.1f}/s by the clock, "
              f"{found['samples_per_processor_second']:.1f} by the processor")  # fmt: skip
    facts = {
        "machine": machine(PACKAGES),
        "run": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "load_before": load,
            "batch": BATCH,
        },
        "one_h200_asks_for": H200,
        "hosts": hosts,
    }
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
