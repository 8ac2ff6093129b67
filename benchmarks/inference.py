"""What inference costs beside its network: python benchmarks/inference.py [--scale sd15].

Each figure is a ratio of two things measured in turn in one process, by processor time on a CPU
and by the clock on a GPU:

alignment    the U-Net's pass to l* = 9 against a whole forward (goal at most 0.65 at sd15)
grid         all layers at T sampler steps against T plain forwards (goal at most 1.15)
refinement   the stage against its bare U-Net, autoencoder and encoder calls (goal at most 1.05)
large        4,000 x 3,000 pixels against 1,000 x 750 with equal hole and crop (goal at most 1.15)
batch        images together against one by one, seconds an image (goal at most 1)

``--scale sd15`` has the shapes of Stable Diffusion 1.5 and DINOv2 ViT-L with random weights: about
8 GiB and a quarter of an hour of one CPU core a round, and a round before them warms up.
Each part is written as soon as it is measured; ``--parts`` names those that are wanted.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from inference_scene import LAYER, Scene
from loader import machine

from rba.host_memory import keep_freed_memory
from rba.inference.align import alignment_condition, walk_attention
from rba.inference.refine import align_requests, refine_aligned
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import latent_shape, make_condition

RESULTS = Path(__file__).parent / "results" / "inference.json"
GOALS = {"alignment": 0.65, "grid": 1.15, "refinement": 1.05, "large": 1.15, "batch": 1.0}
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")
Timed = Callable[[], Any]


def seconds(timed: Timed, device: torch.device) -> float:
    """Return what one call takes: processor time on a CPU, by the clock on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        timed()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    timed()
    return time.process_time() - start


def compare(ours: Timed, base: Timed, scene: Scene, rounds: int) -> dict[str, float]:
    """Time two calls in turn, each first in every other round; one round before them warms up.

    The first pass of a process touches its memory for the first time, which the kernel charges.
    """
    pairs: list[tuple[float, float]] = []
    for turn in range(1 + rounds):
        if turn % 2:
            mine, other = seconds(ours, scene.device), seconds(base, scene.device)
        else:
            other, mine = seconds(base, scene.device), seconds(ours, scene.device)
        pairs.append((mine, other))
    ratios = [mine / other for mine, other in pairs[1:]]
    return {
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "seconds": statistics.median(mine for mine, _ in pairs[1:]),
        "base_seconds": statistics.median(other for _, other in pairs[1:]),
    }


def measure_alignment(scene: Scene, steps: int, rounds: int) -> dict[str, Any]:
    """The pass to l*, the grid, and the parts beside them."""
    del steps
    network, scheduler = scene.network, scene.scheduler
    image, mask, reference = scene.inputs()
    condition = alignment_condition(network, image, mask, reference)
    noise = torch.randn(latent_shape(network, condition))
    forward = _forward(scene, condition, 1)
    forward()

    def walk(cells: dict[int, Any]) -> None:
        options: dict[str, Any] = {"cells": cells, "num_inference_steps": scene.grid_steps}
        for _ in walk_attention(network, scheduler, condition, mask, noise, **options):
            pass

    layers = range(len(network.cross_attention_layers()))
    pixels = image.to(scene.device, condition.tokens.dtype)
    shown = reference.to(scene.device, condition.tokens.dtype)

    def grid_base() -> None:
        for _ in range(scene.grid_steps):
            forward()

    return {
        "alignment": compare(lambda: walk({0: [LAYER]}), forward, scene, rounds),
        "grid": compare(
            lambda: walk(dict.fromkeys(range(scene.grid_steps), layers)), grid_base, scene, rounds
        ),
        "encoder": _alone(lambda: network.embed_references(shown), scene),
        "autoencoder": _alone(lambda: network.encode_images(pixels), scene),
    }


def measure_refinement(scene: Scene, steps: int, rounds: int) -> dict[str, Any]:
    """The refinement stage against the calls of the network that it must make."""
    network, settings = scene.network, scene.settings(steps)
    request = scene.request(3 * scene.size, 2 * scene.size, scene.size // 2)
    alignments = align_requests(network, scene.scheduler, [request], settings)
    image, mask, reference = scene.inputs()
    shown = reference.to(scene.device, next(network.parameters()).dtype)
    condition = make_condition(network, image, mask, network.embed_references(shown))
    forward = _forward(scene, condition, 2)
    latents = torch.randn(latent_shape(network, condition)).to(shown)

    def bare() -> None:
        network.embed_references(shown)
        make_condition(network, image, mask, condition.tokens)
        for _ in range(steps):
            forward()
        network.decode_latents(latents)

    def stage() -> None:
        refine_aligned(network, scene.scheduler, [request], alignments, settings)

    return {"refinement": compare(stage, bare, scene, rounds)}


def measure_sizes(scene: Scene, steps: int, rounds: int) -> dict[str, Any]:
    """A large picture against a small one, with equal hole and crop."""
    hole = 100
    small, large = scene.request(1000, 750, hole), scene.request(4000, 3000, hole)
    return {
        "large": compare(_whole(scene, large, steps), _whole(scene, small, steps), scene, rounds)
    }


def measure_batch(scene: Scene, steps: int, rounds: int) -> dict[str, Any]:
    """Images together against one by one."""
    count = scene.batch
    requests = [scene.request(300, 200, 40) for _ in range(count)]
    together, single = scene.settings(steps, count), scene.settings(steps)

    def run(settings: RefinementSettings, size: int) -> None:
        for start in range(0, count, size):
            batch = requests[start : start + size]
            found = align_requests(scene.network, scene.scheduler, batch, settings)
            refine_aligned(scene.network, scene.scheduler, batch, found, settings)

    return {"batch": compare(lambda: run(together, count), lambda: run(single, 1), scene, rounds)}


PARTS: dict[str, Callable[[Scene, int, int], dict[str, Any]]] = {
    "alignment": measure_alignment,
    "refinement": measure_refinement,
    "sizes": measure_sizes,
    "batch": measure_batch,
}


def _alone(timed: Timed, scene: Scene) -> dict[str, float]:
    """Time one call; the first one warms up."""
    return {"seconds": [seconds(timed, scene.device) for _ in range(2)][1]}


def _whole(scene: Scene, request: RefinementRequest, steps: int) -> Timed:
    settings = scene.settings(steps)

    def run() -> None:
        found = align_requests(scene.network, scene.scheduler, [request], settings)
        refine_aligned(scene.network, scene.scheduler, [request], found, settings)

    return run


def _forward(scene: Scene, condition: Any, batch: int) -> Timed:
    """Return one bare forward of the U-Net on stacked inputs."""
    network, like = scene.network, condition.tokens
    shape = (batch, network.unet.config.in_channels, *condition.latent_mask.shape[-2:])
    stacked = torch.randn(shape).to(like)
    tokens = like.expand(batch, -1, -1).contiguous()
    timestep = torch.tensor(500, device=scene.device)
    return lambda: network.unet(stacked, timestep, encoder_hidden_states=tokens)


@torch.no_grad()
def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", choices=("tiny", "sd15"), default="tiny")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="beside the one that warms up")
    parser.add_argument("--steps", type=int, help="sampler steps (default 50; sd15 on a CPU 2)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(given.threads)
    scene = Scene(given.scale, given.device)
    steps = given.steps or (2 if scene.dear else 50)
    for part in given.parts:
        run = {
            "rounds": given.rounds,
            "steps": steps,
            "threads": given.threads,
            "load_before": round(os.getloadavg()[0], 2),
        }
        for name, row in PARTS[part](scene, steps, given.rounds).items():
            show(name, row)
            keep(given.out, f"{given.scale}_{scene.device.type}", name, row | {"run": run})
    print(f"written to {given.out}")


def show(name: str, row: dict[str, Any]) -> None:
    """Print one figure."""
    if "ratio" in row:
        print(
            f"{name:11s} {row['ratio']:.3f} ({row['least']:.3f}-{row['most']:.3f}), goal "
            f"{GOALS[name]}; {row['seconds']:.3f} s against {row['base_seconds']:.3f} s",
            flush=True,
        )
    else:
        print(f"{name:11s} {row['seconds']:.3f} s", flush=True)


def keep(path: Path, scale: str, name: str, row: dict[str, Any]) -> None:
    """Write one figure into the results, beside those that are there."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    entry = known.setdefault(scale, {"figures": {}})
    entry |= {"machine": machine(PACKAGES), "goals": GOALS}
    entry["figures"][name] = row
    path.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
