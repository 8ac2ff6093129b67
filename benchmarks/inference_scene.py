"""Networks with random weights and pictures of noise for `inference.py`."""

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from training_scales import SCALES

from rba.case import Case
from rba.inference.align import AlignmentSettings
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.models.network import RefinementNetwork
from rba.settings import compose_config
from rba.settings.parts import build

LAYER = 9  # l* of the paper


def model_config(scale: str) -> Any:
    """Return the configuration of a model with random weights."""
    overrides = {
        "tiny": ["experiment=tiny"],
        "small": ["experiment=paper", "model.network.encoder.source=null", *SCALES["tiny"][1]],
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
    return config.model


def make_network(scale: str) -> tuple[RefinementNetwork, int]:
    """Return a network with random weights, and its image size."""
    torch.manual_seed(0)
    config = model_config(scale)
    return build(config.network).eval(), int(config.image_size)


class Scene:
    """A network, its schedule, and cases of noise; on a GPU, or ``halved``, in bfloat16."""

    def __init__(self, scale: str, device: str, *, halved: bool = False) -> None:
        network, self.size = make_network(scale)
        self.dear = scale == "sd15" and device == "cpu"  # a forward takes many seconds
        self.batch, self.grid_steps = (2, 2) if self.dear else (4, 4)
        self.device = torch.device(device)
        halved |= self.device.type == "cuda"
        dtype = torch.bfloat16 if halved else torch.float32
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
                sampler_step_index=0, layer=LAYER, num_inference_steps=self.grid_steps
            ),
            sampler=SamplerSettings(num_inference_steps=steps),
        )

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, mask and reference as tensors."""
        size, reference = self.size, self.network.reference_size
        mask = torch.zeros(1, 1, size, size)
        mask[..., size // 3 : size // 2, size // 3 : size // 2] = 1
        return torch.rand(1, 3, size, size), mask, torch.rand(1, 3, reference, reference)
