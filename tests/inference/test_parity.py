"""The refinement loop against diffusers' own inpainting pipeline, step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
)
from torch import Tensor

from rba.inference.frames import tensor_to_images
from rba.inference.sampler import SamplerSettings, make_condition, sample
from rba.models.autoencoder import load_autoencoder
from rba.models.connector import Connector
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet

STEPS, GUIDANCE = 6, 5.0


@pytest.fixture(scope="module")
def parts(network: RefinementNetwork) -> RefinementNetwork:
    """Stable Diffusion's shape: 4 latent channels, 9 into the U-Net, an autoencoder."""
    torch.manual_seed(1)
    autoencoder = load_autoencoder(
        None,
        {
            "block_out_channels": [8, 8],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "latent_channels": 4,
            "norm_num_groups": 4,
            "scaling_factor": 0.18215,
        },
    )
    with torch.no_grad():
        # diffusers samples from the posterior, training and we take its mean: make it one point.
        autoencoder.quant_conv.weight[4:].zero_()
        autoencoder.quant_conv.bias[4:].fill_(-30.0)
    config = {k: v for k, v in network.unet.config.items() if not k.startswith("_")}
    unet = load_unet(None, config | {"in_channels": 9, "out_channels": 4, "sample_size": 32})
    connector = Connector(16, 32, 16)
    return RefinementNetwork(
        autoencoder, network.encoder, connector, unet, reference_size=32
    ).eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
        (DPMSolverMultistepScheduler, {"use_karras_sigmas": True, "steps_offset": 1}),
        (EulerDiscreteScheduler, {"timestep_spacing": "trailing", "steps_offset": 1}),
    ],
)
# diffusers 0.42 under numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@torch.no_grad()
def test_each_step_equals_that_of_the_inpainting_pipeline(
    parts: RefinementNetwork, kind: Any, options: dict[str, Any]
) -> None:
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = kind(**schedule, **options)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 8:32, 20:48] = mask[1, :, 40:64, 0:18] = 1  # whole latent cells
    noise = torch.randn(2, 4, 32, 32, generator=generator)
    references = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    tokens = parts.embed_references(references)

    ours: list[Tensor] = []
    latents = sample(
        parts,
        scheduler,
        make_condition(parts, image, mask, tokens),
        noise,
        SamplerSettings(num_inference_steps=STEPS, guidance_scale=GUIDANCE),
        callback=lambda _, __, latents: ours.append(latents.clone()),
    )
    pixels = tensor_to_images(parts.decode_latents(latents))

    theirs: list[Tensor] = []

    def record(_: Any, __: int, ___: Any, given: dict[str, Any]) -> dict[str, Any]:
        theirs.append(given["latents"].clone())
        return given

    pipeline = StableDiffusionInpaintPipeline(
        vae=parts.autoencoder,
        text_encoder=None,
        tokenizer=None,
        unet=parts.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=tokens,
        negative_prompt_embeds=parts.null_tokens(2),
        image=(image + 1) / 2,
        mask_image=mask,
        height=64,
        width=64,
        latents=noise,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        callback_on_step_end=record,
        output_type="np",
    ).images
    assert len(ours) == len(theirs) == STEPS
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    assert np.abs(np.stack(pixels) - np.rint(expected * 255)).max() <= 1
