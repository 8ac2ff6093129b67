"""``blended4``: a U-Net of the noisy latents alone; the known is written back at every step."""

from typing import Any

import pytest
import torch

from rba.inference.align import walk_attention
from rba.inference.sampler import Condition, SamplerSettings, sample
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet


@pytest.fixture
def blended(network: RefinementNetwork) -> RefinementNetwork:
    torch.manual_seed(0)
    config = dict(network.unet.config) | {"in_channels": 48}
    architecture = {name: value for name, value in config.items() if not name.startswith("_")}
    made = RefinementNetwork(
        PatchAutoencoder(patch_size=4),
        network.encoder,
        Connector(16, 32, 16),
        load_unet(None, architecture),
        reference_size=32,
    )
    return made.eval()


@pytest.fixture
def condition() -> Condition:
    generator = torch.Generator().manual_seed(3)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:9, 5:12] = 1
    known = torch.randn(2, 48, 16, 16, generator=generator)
    tokens = torch.randn(2, 64, 16, generator=generator)
    return Condition(latent_mask=mask, masked_latents=known, tokens=tokens)


def seen_by(network: RefinementNetwork) -> list[tuple[torch.Tensor, int]]:
    """What the U-Net is given from now on: (input, timestep)."""
    seen: list[tuple[torch.Tensor, int]] = []
    network.unet.register_forward_pre_hook(lambda _, given: seen.append((given[0], int(given[1]))))
    return seen


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@torch.no_grad()
def test_each_step_sees_the_known_latents_noised_to_its_timestep(
    blended: RefinementNetwork, condition: Condition, scheduler: Any, guidance: float
) -> None:
    assert blended.conditioning == "blended4"
    noise = torch.randn(2, 48, 16, 16)
    seen = seen_by(blended)
    settings = SamplerSettings(num_inference_steps=4, guidance_scale=guidance)
    result = sample(blended, scheduler, condition, noise, settings)
    outside = (condition.latent_mask == 0).expand(2, 48, 16, 16)
    assert len(seen) == 4
    for given, timestep in seen:
        signal = scheduler.alphas_cumprod[timestep]
        known = signal.sqrt() * condition.masked_latents + (1 - signal).sqrt() * noise
        torch.testing.assert_close(given[:2][outside], known[outside])
        torch.testing.assert_close(given[-2:][outside], known[outside])
    assert torch.equal(result[outside], condition.masked_latents[outside])
    assert not torch.equal(result[~outside], condition.masked_latents[~outside])


@torch.no_grad()
def test_the_path_of_the_alignment_stage_is_blended_too(
    blended: RefinementNetwork, condition: Condition, scheduler: Any
) -> None:
    seen = seen_by(blended)
    noise, pixels = torch.randn(2, 48, 16, 16), condition.latent_mask.repeat_interleave(4, 2)
    mask = pixels.repeat_interleave(4, 3)
    list(walk_attention(
        blended, scheduler, condition, mask, noise, cells={1: [15]}, num_inference_steps=4
    ))  # fmt: skip
    outside = (condition.latent_mask == 0).expand(2, 48, 16, 16)
    assert len(seen) == 2
    for given, timestep in seen:
        signal = scheduler.alphas_cumprod[timestep]
        known = signal.sqrt() * condition.masked_latents + (1 - signal).sqrt() * noise
        torch.testing.assert_close(given[outside], known[outside])


@torch.no_grad()
def test_a_network_with_input_channels_for_the_known_is_not_blended(
    network: RefinementNetwork, condition: Condition, scheduler: Any
) -> None:
    assert network.conditioning == "inpaint9"
    settings = SamplerSettings(num_inference_steps=2, guidance_scale=1.0)
    result = sample(network, scheduler, condition, torch.randn(2, 48, 16, 16), settings)
    assert not torch.equal(result[..., 0, 0], condition.masked_latents[..., 0, 0])
