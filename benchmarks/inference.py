"""What inference costs beside its network: python benchmarks/inference.py [--scale sd15].

Each figure is a ratio of two things measured in turn in one process, by processor time on a CPU
and by the clock on a GPU:

alignment    the U-Net's pass to l* = 9 against a whole forward (goal at most 0.65 at sd15)
grid         all layers at T sampler steps against T plain forwards (goal at most 1.15)
refinement   the stage against its bare U-Net, autoencoder and encoder calls (goal at most 1.05)
large        4,000 x 3,000 pixels against 1,000 x 750 with equal hole and crop (goal at most 1.15)
batch        images together against one by one, seconds an image (goal at most 1)

``--scale sd15`` has the shapes of Stable Diffusion 1.5 and DINOv2 ViT-L with random weights: about
8 GiB and minutes on two cores. ``large`` is left out there.
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

import numpy as np
import torch
from diffusers import DDIMScheduler
from loader import machine
from torch import Tensor

from rba.case import Case
from rba.inference.align import AlignmentSettings, alignment_condition, walk_attention
from rba.inference.refine import align_requests, refine_aligned
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings, latent_shape, make_condition
from rba.models.network import RefinementNetwork
from rba.settings import compose_config
from rba.settings.parts import build

RESULTS = Path(__file__).parent / "results" / "inference.json"
GOALS = {"alignment": 0.65, "grid": 1.15, "refinement": 1.05, "large": 1.15, "batch": 1.0}
LAYER = 9  # l* of the paper
GRID_STEPS = 4
Timed = Callable[[], Any]


def make_network(scale: str) -> tuple[RefinementNetwork, int]:
    """Return a network with random weights, and its image size."""
    torch.manual_seed(0)
    overrides = {
        "tiny": ["experiment=tiny"],
        "sd15": ["experiment=paper", "model.network.encoder.source=null"],
    }[scale]
    config = compose_config(
        "train", [*overrides, "data.alignment.shards=x", "data.refinement.shards=x", "run_name=x"]
    )
    network = config.model.network
    for part in ("autoencoder", "unet"):
        if "source" in network[part]:
            network[part].source = None
    if "shared_start" in network:
        network.shared_start = False
    return build(network).eval(), int(config.model.image_size)


class Scene:
    """A network, its schedule, and cases of noise."""

    def __init__(self, scale: str, device: str) -> None:
        network, self.size = make_network(scale)
        self.device = torch.device(device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.network = network.to(self.device, dtype)
        self.scheduler = DDIMScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing")
        self.rng = np.random.default_rng(0)

    def request(self, width: int, height: int, hole: int) -> RefinementRequest:
        """Return a request with a square hole in the middle."""
        image = self.rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), bool)
        top, left = (height - hole) // 2, (width - hole) // 2
        mask[top : top + hole, left : left + hole] = True
        reference = self.rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        case = Case(
            id="noise",
            image=image,
            artifact_mask=mask,
            references=(reference,),
            reference_masks=(None,),
        )
        return RefinementRequest(case=case)

    def settings(self, steps: int, batch_size: int = 1) -> RefinementSettings:
        """Return settings that align at the first step and refine in some."""
        return RefinementSettings(
            image_size=self.size,
            batch_size=batch_size,
            alignment=AlignmentSettings(
                sampler_step_index=0, layer=LAYER, num_inference_steps=GRID_STEPS
            ),
            sampler=SamplerSettings(num_inference_steps=steps),
        )

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, mask and reference as tensors."""
        size, reference = self.size, self.network.reference_size
        mask = torch.zeros(1, 1, size, size)
        mask[..., size // 3 : size // 2, size // 3 : size // 2] = 1
        return torch.rand(1, 3, size, size), mask, torch.rand(1, 3, reference, reference)


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
    """Time two calls in turn; the first round warms up."""
    pairs = [(seconds(ours, scene.device), seconds(base, scene.device)) for _ in range(rounds + 1)][
        1:
    ]
    ratios = [mine / other for mine, other in pairs]
    return {
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "seconds": statistics.median(mine for mine, _ in pairs),
        "base_seconds": statistics.median(other for _, other in pairs),
    }


def measure_alignment(scene: Scene, rounds: int) -> dict[str, Any]:
    """The pass to l*, the grid, and the parts beside them."""
    network, scheduler = scene.network, scene.scheduler
    image, mask, reference = scene.inputs()
    condition = alignment_condition(network, image, mask, reference)
    noise = torch.randn(latent_shape(network, condition))
    forward = _forward(scene, condition, 1)

    def walk(cells: dict[int, Any]) -> None:
        options: dict[str, Any] = {"cells": cells, "num_inference_steps": GRID_STEPS}
        for _ in walk_attention(network, scheduler, condition, mask, noise, **options):
            pass

    layers = range(len(network.cross_attention_layers()))
    pixels = image.to(scene.device, condition.tokens.dtype)
    shown = reference.to(scene.device, condition.tokens.dtype)

    def grid_base() -> None:
        for _ in range(GRID_STEPS):
            forward()

    return {
        "alignment": compare(lambda: walk({0: [LAYER]}), forward, scene, rounds),
        "grid": compare(
            lambda: walk(dict.fromkeys(range(GRID_STEPS), layers)), grid_base, scene, rounds
        ),
        "encoder_seconds": seconds(lambda: network.embed_references(shown), scene.device),
        "autoencoder_seconds": seconds(lambda: network.encode_images(pixels), scene.device),
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


def measure_batch(scene: Scene, steps: int, rounds: int, count: int = 4) -> dict[str, Any]:
    """Images together against one by one."""
    requests = [scene.request(300, 200, 40) for _ in range(count)]
    together, single = scene.settings(steps, count), scene.settings(steps)

    def run(settings: RefinementSettings, size: int) -> None:
        for start in range(0, count, size):
            batch = requests[start : start + size]
            found = align_requests(scene.network, scene.scheduler, batch, settings)
            refine_aligned(scene.network, scene.scheduler, batch, found, settings)

    return {"batch": compare(lambda: run(together, count), lambda: run(single, 1), scene, rounds)}


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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="sampler steps (default 50; sd15 on a CPU 2)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    load = os.getloadavg()[0]
    scene = Scene(given.scale, given.device)
    steps = given.steps or (2 if given.scale == "sd15" and given.device == "cpu" else 50)
    figures = measure_alignment(scene, given.rounds)
    figures |= measure_refinement(scene, steps, given.rounds)
    if given.scale == "tiny":
        figures |= measure_sizes(scene, steps, given.rounds) | measure_batch(
            scene, steps, given.rounds
        )
    for name, goal in GOALS.items():
        if name in figures:
            row = figures[name]
            print(
                f"{name:11s} {row['ratio']:.3f} ({row['least']:.3f}-{row['most']:.3f}), goal "
                f"{goal}; {row['seconds']:.3f} s against {row['base_seconds']:.3f} s"
            )
    print({name: round(figures[name], 4) for name in figures if name.endswith("_seconds")})
    run = {"rounds": given.rounds, "steps": steps, "threads": given.threads, "load_before": load}
    entry = {"machine": machine(), "run": run, "goals": GOALS, "figures": figures}
    known = json.loads(given.out.read_text()) if given.out.is_file() else {}
    known[f"{given.scale}_{scene.device.type}"] = entry
    given.out.write_text(json.dumps(known, indent=1) + "\n")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
