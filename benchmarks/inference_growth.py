"""How the cost of refining grows: python benchmarks/inference_growth.py [--curves ...].

Processor's seconds (the clock's on a GPU), medians of rounds in which the sizes take turns; peaks
of memory in a process of their own each, above what it held before. Into `results/growth/`, see
`growth.py`. Networks with random weights: the tiny model's shapes; for ``network`` the paper's
parts with few channels, and for ``references``, so that the autoencoder counts.

picture      megapixels, with equal hole and crop, one sampler step: what is not the network
memory       the same, MiB at the peak
hole         pixels of a square hole in 4 megapixels, one step
defects      separate defects of a mask, two steps each
references   references of one defect, two steps
steps        sampler steps
network      pixels of the network's picture, one guided pass of the U-Net
operations   the same, counted at the shapes of Stable Diffusion 1.5, with the attention's share
grid         T, all layers at all T steps
jobs         jobs of `rba refine --jobs` with the shipped tiny model, two steps: seconds, seconds of
             the same command when all is done, MiB at the peak
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from growth import keep_growth
from inference import seconds
from inference_growth_calls import CURVES, Curve, picture_call
from inference_scene import Scene, model_config
from loader import machine
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from rba.host_memory import keep_freed_memory
from rba.inference.jobs_command import JobsCommand, run_jobs_command
from rba.settings.parts import build

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "pillow")
COMMAND = "python benchmarks/inference_growth.py --curves"
MEMORY_SIZES, JOB_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128), (10, 30, 100, 300, 1000)
PASS_SIDES = (128, 192, 256, 384, 512, 768, 1024)  # pixels
ALL = (*CURVES, "memory", "operations", "jobs")


@torch.no_grad()
def measure(curve: Curve, rounds: int, device: str) -> list[tuple[float, float]]:
    """Return (size, median seconds), after a round that warms up."""
    scene = Scene(curve.scale, device)
    found: dict[float, list[float]] = {size: [] for size in curve.sizes}
    for number in range(rounds + 1):
        for size in curve.sizes if number % 2 else reversed(curve.sizes):
            call = curve.make(scene, size)  # the picture is made anew: large ones are not kept
            found[size].append(seconds(call, scene.device))
    return [(size, statistics.median(times[1:])) for size, times in found.items()]


def measure_alone(name: str, size: float) -> dict[str, float]:
    """Measure one size in a process of its own."""
    command = [sys.executable, __file__, "--alone", name, str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def picture_peak(megapixels: float) -> dict[str, float]:
    """Return the peak of memory of a call beyond what its process held before the picture."""
    scene = Scene("tiny", "cpu")
    picture_call(scene, 0.1)()
    before = _resident("VmRSS")
    picture_call(scene, megapixels)()
    return {"mib": _resident("VmHWM") - before}


def measure_operations() -> None:
    """Count and keep the operations of a guided pass; print what attention does of them."""
    with torch.device("meta"):
        unet = build(model_config("sd15").network.unet).eval()
        width = unet.config.cross_attention_dim
    points: list[tuple[float, float]] = []
    for side in PASS_SIDES:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
            latents = torch.zeros(2, unet.config.in_channels, side // 8, side // 8)
            unet(latents, torch.zeros(()), encoder_hidden_states=torch.zeros(2, 256, width))
        total = counter.get_total_flops()
        attention = counter.get_flop_counts()["Global"][torch.ops.aten.bmm]
        print(f"{side} pixels: attention {attention / total:.2f} of {total:.3g} operations")
        points.append((side**2, total))
    keep(
        "operations",
        "SD-1.5 U-Net pass by picture",
        points,
        size="pixels of the network's picture",
        cost="operations",
    )


def jobs_run(count: float) -> dict[str, float]:
    """Run the command on a list of jobs, then again when all are done."""
    scene = Scene("tiny", "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = scene.request(64, 64, 20).case
        for part in ("image", "artifact_mask"):
            Image.fromarray(getattr(case, part)).save(folder / f"{part}.png")
        Image.fromarray(case.references[0]).save(folder / "reference.png")
        line = {"image": "image.png", "mask": "artifact_mask.png", "reference": "reference.png"}
        found: dict[str, float] = {}
        # `first` brings what a process does once
        for size, runs in ((4, ["first"]), (round(count), ["seconds", "resume_seconds"])):
            rows = [json.dumps({"id": f"{size}-{number}", **line}) for number in range(size)]
            jobs = folder / "jobs.jsonl"
            jobs.write_text("\n".join(rows))
            command = JobsCommand(
                model="tiny", jobs=str(jobs), output=str(folder / "out"), steps=2, device="cpu"
            )
            for run in runs:
                told = io.StringIO()
                with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                    start = time.process_time()
                    run_jobs_command(command)
                    found[run] = time.process_time() - start
    return found | {"mib": _resident("VmHWM")}


def _resident(line: str) -> float:
    """Return a line of this process's status in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{line}:")[2].split()[0]) / 1024


def keep(
    name: str, title: str, points: Sequence[tuple[float, float]], *, size: str, cost: str
) -> None:
    """Write and print one curve."""
    load = round(os.getloadavg()[0], 2)
    facts = machine(PACKAGES) | {"load_after": load}
    fitted = keep_growth(
        title, points, size=size, cost=cost, command=f"{COMMAND} {name}", machine=facts
    )
    shown = "  ".join(f"{count:g}: {spent:.4g}" for count, spent in points)
    print(f"{title}: {fitted['exponent']} (last {fitted['last']})  {shown}", flush=True)


def measure_jobs() -> None:
    """Measure and keep the three curves of a list of jobs."""
    runs = [(count, measure_alone("jobs", count)) for count in JOB_COUNTS]
    for title, key, cost in (
        ("Jobs", "seconds", "processor's seconds"),
        ("Jobs that are done", "resume_seconds", "processor's seconds"),
        ("Jobs memory", "mib", "MiB at the peak"),
    ):
        keep("jobs", title, [(n, run[key]) for n, run in runs], size="jobs", cost=cost)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--curves", nargs="+", choices=ALL, default=list(ALL))
    parser.add_argument("--device", default="cpu", help="of all but memory and jobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", nargs=2, metavar=("CURVE", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    if given.alone:
        name, size = given.alone
        print(json.dumps({"memory": picture_peak, "jobs": jobs_run}[name](float(size))))
        return
    for name in given.curves:
        if name == "jobs":
            measure_jobs()
        elif name == "operations":
            measure_operations()
        elif name == "memory":
            points = [(size, measure_alone(name, size)["mib"]) for size in MEMORY_SIZES]
            keep(name, "Memory by picture", points, size="megapixels", cost="MiB at the peak")
        else:
            curve = CURVES[name]
            points = measure(curve, given.rounds, given.device)
            cost = "processor's seconds" if given.device == "cpu" else "seconds"
            keep(name, curve.name, points, size=curve.size, cost=cost)


if __name__ == "__main__":
    main()
