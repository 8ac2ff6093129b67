"""Parts of the real classes, a few thousand weights each."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from rba.models.autoencoder import PatchAutoencoder, load_autoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet

ENCODER: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 9,
    "out_channels": 4,
    "block_out_channels": [8, 8, 16, 16],
    "layers_per_block": 2,
    "attention_head_dim": 2,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
}
AUTOENCODER: dict[str, Any] = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 32,
}


@pytest.fixture
def encoder_settings() -> dict[str, Any]:
    return copy.deepcopy(ENCODER)


@pytest.fixture
def unet_settings() -> dict[str, Any]:
    return copy.deepcopy(UNET)


@pytest.fixture
def autoencoder_settings() -> dict[str, Any]:
    return copy.deepcopy(AUTOENCODER)


@pytest.fixture
def kl(autoencoder_settings: dict[str, Any]) -> AutoencoderKL:
    torch.manual_seed(0)
    return load_autoencoder(None, autoencoder_settings).eval()


@pytest.fixture
def make_network() -> Callable[..., RefinementNetwork]:
    """Build a network; ``patch`` takes the lossless autoencoder, else `AutoencoderKL`."""

    def make(*, patch: bool = True, seed: int = 0, **options: Any) -> RefinementNetwork:
        torch.manual_seed(seed)
        channels = 48 if patch else 4
        channels_of_unet = {"in_channels": 2 * channels + 1, "out_channels": channels}
        return RefinementNetwork(
            PatchAutoencoder(patch_size=4) if patch else load_autoencoder(None, AUTOENCODER),
            load_encoder(None, ENCODER),
            Connector(16, 32, 16),
            load_unet(None, UNET | channels_of_unet),
            **({"reference_size": 32} | options),
        )

    return make


@pytest.fixture
def network(make_network: Callable[..., RefinementNetwork]) -> RefinementNetwork:
    return make_network().eval()
