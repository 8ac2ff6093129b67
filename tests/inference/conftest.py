"""A network of the real classes, small enough for a forward pass in milliseconds."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from rba.case import Case
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet


@pytest.fixture(scope="session")
def network() -> RefinementNetwork:
    """64-pixel images, 32-pixel references of 8 x 8 tokens, 16 cross-attention layers."""
    torch.manual_seed(0)
    encoder = load_encoder(
        None,
        {
            "image_size": 32,
            "patch_size": 4,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
    )
    unet = load_unet(
        None,
        {
            "sample_size": 16,
            "in_channels": 97,
            "out_channels": 48,
            "block_out_channels": [8, 8, 16, 16],
            "layers_per_block": 2,
            "attention_head_dim": 2,
            "cross_attention_dim": 16,
            "norm_num_groups": 4,
        },
    )
    network = RefinementNetwork(
        PatchAutoencoder(patch_size=4),
        encoder,
        Connector(16, 32, 16),
        unet,
        reference_size=32,
    )
    # Random weights attend almost evenly; stronger keys make maps that tell layers apart.
    with torch.no_grad():
        for _, layer in network.cross_attention_layers():
            layer.to_k.weight.mul_(8.0)
            layer.to_q.weight.mul_(8.0)
    return network.eval()


@pytest.fixture
def scheduler() -> Any:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return np.kron(small, np.ones((-(-height // 5), -(-width // 5), 1), np.uint8))[:height, :width]


@pytest.fixture
def make_case() -> Any:
    def make(
        height: int = 90,
        width: int = 120,
        *,
        box: tuple[int, int, int, int] = (30, 40, 50, 62),
        reference: tuple[int, int] = (70, 50),
        object_mask: bool = False,
        name: str = "case",
    ) -> Case:
        """``box`` is (top, left, bottom, right) of the artifact mask."""
        mask = np.zeros((height, width), bool)
        mask[box[0] : box[2], box[1] : box[3]] = True
        known = None
        if object_mask:
            known = np.zeros(reference, bool)
            known[reference[0] // 4 : -reference[0] // 4, reference[1] // 4 :] = True
        return Case(
            id=name,
            image=_picture(height, width, 1),
            artifact_mask=mask,
            references=(_picture(*reference, 2),),
            reference_masks=(known,),
        )

    return make


@pytest.fixture
def pipeline(network: Any, scheduler: Any) -> RefineByAlignPipeline:
    made = RefineByAlignPipeline.from_network(network, scheduler, image_size=64)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def pictures(make_case: Any) -> dict[str, np.ndarray]:
    case = make_case()
    return {"image": case.image, "mask_image": case.artifact_mask, "reference": case.references[0]}
