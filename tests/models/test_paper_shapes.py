"""The paper's network from conf/model/paper.yaml, at its true shapes, without its weights."""

from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from rba.models.network import RefinementNetwork
from rba.settings import compose_config, without_sources

# SD-1.5's autoencoder; DINOv2 ViT-L/14; the MLP; SD-1.5's U-Net, 859,520,964 and 5 more channels
PARAMETERS = {
    "autoencoder": 83_653_863,
    "encoder": 304_368_640,
    "connector": 1_841_152,
    "unet": 859_535_364,
}


@pytest.fixture(scope="module")
def config() -> DictConfig:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    return compose_config("train", ["experiment=paper", *shards])


@pytest.fixture(scope="module")
def network(config: DictConfig) -> RefinementNetwork:
    with torch.device("meta"):
        made: Any = instantiate(without_sources(config.model.network), _convert_="all")
    return made.eval()


def test_nothing_is_allocated(network: RefinementNetwork) -> None:
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@pytest.mark.parametrize("part", PARAMETERS)
def test_each_part_has_the_published_number_of_parameters(
    network: RefinementNetwork, part: str
) -> None:
    assert sum(p.numel() for p in getattr(network, part).parameters()) == PARAMETERS[part]


def test_there_are_sixteen_layers_in_execution_order(network: RefinementNetwork) -> None:
    blocks = (
        *(f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)),
        "mid_block.attentions.0",
        *(f"up_blocks.{i}.attentions.{j}" for i in (1, 2, 3) for j in range(3)),
    )
    names = [name for name, _ in network.cross_attention_layers()]
    assert names == [f"{block}.transformer_blocks.0.attn2" for block in blocks]
    assert {layer.heads for _, layer in network.cross_attention_layers()} == {8}


def test_a_reference_becomes_256_tokens_of_768(network: RefinementNetwork) -> None:
    assert network.reference_size == 224
    references = torch.zeros(2, 3, 224, 224, device="meta")
    assert network.embed_references(references).shape == (2, 256, 768)
    assert network.null_tokens(2).shape == (2, 256, 768)


def test_an_image_of_512_becomes_latents_of_4_by_64_by_64(
    network: RefinementNetwork, config: DictConfig
) -> None:
    assert (network.latent_factor, network.latent_channels) == (8, 4)
    side = config.model.image_size
    latents = network.encode_images(torch.zeros(1, 3, side, side, device="meta"))
    assert latents.shape == (1, 4, 64, 64)
    assert network.decode_latents(latents).shape == (1, 3, 512, 512)


@torch.no_grad()
def test_one_forward_sees_every_layer_s_queries(network: RefinementNetwork) -> None:
    queries: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda m, given, out: queries.append(out.shape[1]))
        for _, layer in network.cross_attention_layers()
    ]
    noisy, masked = torch.zeros(2, 1, 4, 64, 64, device="meta")
    mask = torch.zeros(1, 1, 64, 64, device="meta")
    timesteps = torch.zeros(1, dtype=torch.int64, device="meta")
    tokens = torch.zeros(1, 256, 768, device="meta")
    assert network.predict(noisy, timesteps, mask, masked, tokens).shape == (1, 4, 64, 64)
    for hook in hooks:
        hook.remove()
    sides = [64, 64, 32, 32, 16, 16, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    assert queries == [side * side for side in sides]


def test_the_whole_unet_and_the_mlp_are_trained_and_nothing_else(
    network: RefinementNetwork,
) -> None:
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert count == PARAMETERS["unet"] + PARAMETERS["connector"]
