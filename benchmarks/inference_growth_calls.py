"""What is measured by `inference_growth.py`: calls of growing size."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from inference_scene import Scene
from PIL import Image

from rba.case import Case
from rba.inference.grid import GridSettings, correspondence_grid
from rba.inference.images import refine_images
from rba.inference.noise import KeyedNoise
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest

Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """What grows, its sizes, and how a call of one size is made."""

    name: str
    size: str
    sizes: Sequence[float]
    make: Callable[[Scene, float], Call]
    scale: str = "tiny"


def picture_call(scene: Scene, megapixels: float) -> Call:
    """A whole call, PIL in and out, of one step."""
    side = round((megapixels * 1e6) ** 0.5)
    return _call(scene, scene.request(side, side, 100).case)


def hole_call(scene: Scene, area: float) -> Call:
    """A whole call of one step; the crop is three times the hole, at most the picture."""
    return _call(scene, scene.request(2000, 2000, round(area**0.5)).case)


def defects_call(scene: Scene, count: float) -> Call:
    """Two steps for each of equal defects on a grid."""
    case = scene.request(1024, 1024, 16).case
    mask = np.zeros((1024, 1024), bool)
    for place in range(round(count)):
        top, left = 32 + 128 * (place // 8), 32 + 128 * (place % 8)
        mask[top : top + 16, left : left + 16] = True
    settings = dataclasses.replace(scene.settings(2), max_defects=64, defect_distance=0.05)
    request = RefinementRequest(case=dataclasses.replace(case, artifact_mask=mask))
    return lambda: refine_images(scene.network, scene.scheduler, [request], settings)


def references_call(scene: Scene, count: float) -> Call:
    """Two steps of one defect after the best of some references."""
    case = scene.request(512, 512, 60).case
    size = (round(count), *case.references[0].shape)
    shown = tuple(scene.rng.integers(0, 256, size, dtype=np.uint8))
    case = dataclasses.replace(case, references=shown, reference_masks=(None,) * len(shown))
    request, settings = RefinementRequest(case=case), scene.settings(2, batch_size=4)
    return lambda: refine_images(scene.network, scene.scheduler, [request], settings)


def steps_call(scene: Scene, steps: float) -> Call:
    """A refinement of some steps."""
    request, settings = scene.request(300, 200, 40), scene.settings(round(steps))
    return lambda: refine_images(scene.network, scene.scheduler, [request], settings)


def network_call(scene: Scene, area: float) -> Call:
    """One guided pass of the U-Net."""
    unet, cells = scene.network.unet, round(area**0.5) // scene.network.latent_factor
    tokens = scene.network.null_tokens(2)
    latents = torch.randn(2, unet.config.in_channels, cells, cells).to(tokens)
    timestep = torch.tensor(500, device=tokens.device)
    return lambda: unet(latents, timestep, encoder_hidden_states=tokens)


def grid_call(scene: Scene, steps: float) -> Call:
    """All maps of the calibration."""
    image, mask, reference = scene.inputs()
    settings = GridSettings(num_inference_steps=round(steps))
    noise = KeyedNoise(0, (0,))
    return lambda: correspondence_grid(
        scene.network,
        scene.scheduler,
        image=image,
        artifact_mask=mask,
        reference=reference,
        noise=noise,
        settings=settings,
    )


def _call(scene: Scene, case: Case) -> Call:
    image, mask = Image.fromarray(case.image), Image.fromarray(case.artifact_mask)
    reference = Image.fromarray(case.references[0])
    pipeline = RefineByAlignPipeline.from_network(
        scene.network, scene.scheduler, image_size=scene.size
    )
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(image, mask, reference, num_inference_steps=1)


CURVES = {
    "picture": Curve(
        name="Refining by picture",
        size="megapixels",
        sizes=(1, 2, 4, 8, 16, 32, 64, 128),
        make=picture_call,
    ),
    "hole": Curve(
        name="Refining by hole",
        size="pixels of the hole",
        sizes=[side**2 for side in (8, 16, 32, 64, 128, 256, 512, 1024)],
        make=hole_call,
    ),
    "defects": Curve(
        name="Refining by defects",
        size="defects in a mask",
        sizes=(1, 2, 4, 8, 16, 32, 64),
        make=defects_call,
    ),
    "references": Curve(
        name="Refining by references",
        size="references",
        sizes=(1, 2, 4, 8, 16, 32),
        make=references_call,
        scale="small",
    ),
    "steps": Curve(
        name="Refining by sampler steps",
        size="sampler steps",
        sizes=(1, 2, 4, 8, 16, 32, 64, 128),
        make=steps_call,
    ),
    "network": Curve(
        name="U-Net pass by picture",
        size="pixels of the network's picture",
        sizes=[side**2 for side in (64, 128, 192, 256, 384, 512)],
        make=network_call,
        scale="small",
    ),
    "grid": Curve(
        name="Calibration grid by T", size="T", sizes=(2, 4, 8, 16, 32, 50, 100), make=grid_call
    ),
}
