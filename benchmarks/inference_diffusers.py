"""Our call against diffusers' inpainting pipeline: python benchmarks/inference_diffusers.py.

``StableDiffusionInpaintPipeline`` gets the same U-Net, autoencoder and scheduler, the same picture,
mask, steps and guidance, the same square cut out around the hole (its ``padding_mask_crop``) and
the condition's tokens ready-made, as ``prompt_embeds``. PIL pictures in, a PIL picture out. Turn by
turn in one process, by processor time on a CPU and by the clock on a GPU:

whole        our call: alignment, then refinement, against theirs
refinement   our call with ``reference_region`` given, so without alignment (goal at most 1.05)

That the U-Net of ``refinement`` and of theirs runs equally often on equal shapes is checked.

``--scale small`` has the paper's parts with few channels and pictures of 128 pixels (the shipped
tiny model's U-Net has inputs that their pipeline refuses), 50 steps; ``--scale sd15`` the shapes of
Stable Diffusion 1.5 and DINOv2 ViT-L, random weights, 8 GiB or with ``--bf16`` 4, on a CPU 2 steps.
There the ratios at 50 steps are computed: 48 times the forward that is measured beside them is
added to either side.
"""

import argparse
import json
import os
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from inference import seconds
from inference_scene import Scene
from loader import machine
from PIL import Image

from rba.host_memory import keep_freed_memory
from rba.inference.pipeline import RefineByAlignPipeline

RESULTS = Path(__file__).parent / "results" / "inference_diffusers.json"
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "pillow")
STEPS, GUIDANCE = 50, 5.0  # the paper's T, our default
GOALS = {"refinement": 1.05}
Call = Callable[[], Any]


def make_calls(scene: Scene, steps: int) -> dict[str, Call]:
    """Return the calls that take turns: ours, theirs, and what the difference is made of."""
    scheduler = DDIMScheduler(  # their pipeline changes another `steps_offset` by itself
        beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    network, size = scene.network, scene.size
    hole = size // 2
    case = scene.request(3 * size, 2 * size, hole).case
    image, mask, reference = (
        Image.fromarray(pixels) for pixels in (case.image, case.artifact_mask, case.references[0])
    )
    mine = RefineByAlignPipeline.from_network(network, scheduler, image_size=size)
    theirs = StableDiffusionInpaintPipeline(
        vae=network.autoencoder,
        text_encoder=None,
        tokenizer=None,
        unet=network.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for pipeline in (mine, theirs):
        pipeline.set_progress_bar_config(disable=True)
    side = network.reference_size
    shown = torch.rand(1, 3, side, side).to(scene.device, next(network.parameters()).dtype)
    tokens = network.embed_references(shown)
    null_tokens = network.null_tokens(1).to(tokens)
    region = Image.new("1", reference.size, 1)
    common: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": GUIDANCE}
    stacked = torch.randn(2, network.unet.config.in_channels, *[size // network.latent_factor] * 2)
    forward = (stacked.to(tokens), torch.tensor(500, device=scene.device), tokens.repeat(2, 1, 1))

    def diffusers_call() -> Image.Image:
        return theirs(
            prompt_embeds=tokens,
            negative_prompt_embeds=null_tokens,
            image=image,
            mask_image=mask.convert("L"),
            height=size,
            width=size,
            padding_mask_crop=hole,  # on either side: three times the hole, as our crop_factor
            **common,
        ).images[0]

    return {
        "whole": lambda: mine(image, mask, reference, **common).images[0],
        "theirs": diffusers_call,
        "refinement": lambda: mine(
            image, mask, reference, reference_region=region, **common
        ).images[0],
        "encoder": lambda: network.embed_references(shown),
        "forward": lambda: network.unet(*forward),
    }


def check_equal_work(shapes: dict[str, list[tuple[int, ...]]]) -> None:
    """Refuse a comparison of unequal work.

    Raises:
        ValueError: If the U-Net's inputs differ in number or shape.
    """
    if shapes["refinement"] != shapes["theirs"]:
        raise ValueError(f"the U-Net saw {shapes['refinement']}, theirs {shapes['theirs']}")


def measure(scene: Scene, steps: int, rounds: int) -> list[dict[str, float]]:
    """Return the seconds of each call, a dictionary a round, after our call of one step.

    The first pass of a process touches its memory for the first time, which the kernel charges.
    """
    make_calls(scene, 1)["whole"]()
    calls = make_calls(scene, steps)
    shapes: dict[str, list[tuple[int, ...]]] = {}
    name = ""

    def note(_: object, inputs: tuple[Any, ...]) -> None:
        shapes[name].append(tuple(inputs[0].shape))

    handle = scene.network.unet.register_forward_pre_hook(note)
    times: list[dict[str, float]] = []
    for number in range(rounds):
        times.append({})
        for name, call in calls.items() if number % 2 else reversed(calls.items()):
            shapes[name] = []
            times[-1][name] = seconds(call, scene.device)
        check_equal_work(shapes)
    handle.remove()
    return times


def summary(times: list[dict[str, float]], steps: int) -> dict[str, Any]:
    """Return ratios with their spread, seconds, and, of fewer steps, the ratios at 50.

    What else the machine does only adds to a call's time, so the ratio of the fastest calls stands
    beside that of the medians.
    """
    figures: dict[str, Any] = {
        f"{name}_seconds": statistics.median(row[name] for row in times) for name in times[0]
    }
    more = STEPS - steps
    for name in ("whole", "refinement"):
        ratios = [row[name] / row["theirs"] for row in times]
        figures[name] = _spread(ratios)
        fastest = min(row[name] for row in times) / min(row["theirs"] for row in times)
        figures[f"{name}_of_the_fastest"] = fastest
        with_tokens = [row[name] / (row["theirs"] + row["encoder"]) for row in times]
        figures[f"{name}_if_theirs_embeds"] = _spread(with_tokens)
        if more:
            figures[f"{name}_computed_at_{STEPS}_steps"] = _spread(
                [
                    (row[name] + more * row["forward"]) / (row["theirs"] + more * row["forward"])
                    for row in times
                ]
            )
    return figures


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


@torch.no_grad()
def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", choices=("small", "sd15"), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, help="sampler steps (default 50; sd15 on a CPU 2)")
    parser.add_argument("--bf16", action="store_true", help="on a CPU too: half the memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "__array__ implementation")  # diffusers under numpy 2
    keep_freed_memory()  # as the commands do; theirs has it too here, being in one process
    torch.set_num_threads(given.threads)
    load = round(os.getloadavg()[0], 2)
    scene = Scene(given.scale, given.device, halved=given.bf16)
    steps = given.steps or (2 if scene.dear else STEPS)
    times = measure(scene, steps, given.rounds)
    figures = summary(times, steps)
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{name:36s} {value['median']:.3f} ({value['least']:.3f}-{value['most']:.3f})")
        else:
            print(f"{name:36s} {value:.3f}")
    known = json.loads(given.out.read_text()) if given.out.is_file() else {}
    known[f"{given.scale}_{scene.device.type}"] = {
        "machine": machine(PACKAGES),
        "run": {
            "rounds": given.rounds,
            "steps": steps,
            "guidance_scale": GUIDANCE,
            "threads": given.threads,
            "dtype": str(next(scene.network.parameters()).dtype),
            "load_before": load,
        },
        "goals": GOALS,
        "figures": figures,
        "times": times,
    }
    given.out.write_text(json.dumps(known, indent=1) + "\n")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
