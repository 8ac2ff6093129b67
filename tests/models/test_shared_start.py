"""Queries and keys that start as one map: attention finds planted tokens before any training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rba.attention.capture import capture_attention
from rba.errors import InputError
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet

WIDTH, CHANNELS, SIDE = 32, 24, 8


@pytest.fixture
def make(
    make_network: Callable[..., RefinementNetwork],
    encoder_settings: dict[str, Any],
    unet_settings: dict[str, Any],
) -> Callable[..., RefinementNetwork]:
    def build(*, hidden: int = 2 * WIDTH, channels: int = CHANNELS, **options: Any) -> Any:
        torch.manual_seed(0)
        unet = unet_settings | {
            "sample_size": SIDE, "in_channels": 97 + WIDTH, "out_channels": 48,
            "block_out_channels": [channels, 24, 32, 32], "cross_attention_dim": CHANNELS,
        }  # fmt: skip
        return RefinementNetwork(
            make_network().autoencoder,
            load_encoder(None, encoder_settings | {"hidden_size": WIDTH}),
            Connector(WIDTH, hidden, CHANNELS),
            load_unet(None, unet),
            reference_size=32,
            **options,
        ).eval()

    return build


@torch.no_grad()
def share_of_hits(network: RefinementNetwork) -> float:
    """How often a cell of the hole looks most at the one reference token that is like its own."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, network.num_tokens, WIDTH, generator=generator)
    order = torch.randperm(network.num_tokens, generator=generator)
    cells = features[:, order].transpose(1, 2).unflatten(2, (SIDE, SIDE))
    masked = torch.cat([torch.zeros(4, 48, SIDE, SIDE), cells], dim=1)
    noisy = torch.randn(4, 48, SIDE, SIDE, generator=generator)
    mask = torch.ones(4, 1, SIDE, SIDE)
    with capture_attention(network.cross_attention_layers()[:1]) as captured:
        network.predict(noisy, torch.tensor(900), mask, masked, network.connect(features))
    (probabilities,) = captured.values()
    return float((probabilities.argmax(dim=-1) == order).float().mean())


def test_attention_starts_from_what_the_encoder_knows(
    make: Callable[..., RefinementNetwork],
) -> None:
    assert share_of_hits(make()) < 0.1
    assert share_of_hits(make(shared_start=True)) > 0.6


def test_all_of_it_can_be_trained(make: Callable[..., RefinementNetwork]) -> None:
    network = make(shared_start=True)
    trained = [*network.connector.parameters(), *network.unet.parameters()]
    assert all(parameter.requires_grad for parameter in trained)
    assert all(bool(parameter.isfinite().all()) for parameter in trained)


def test_the_connector_starts_linear(make: Callable[..., RefinementNetwork]) -> None:
    layers = make(shared_start=True).connector.layers
    one, two = torch.randn(2, 5, WIDTH)
    torch.testing.assert_close(layers[1:4](one + two), layers[1:4](one) + layers[1:4](two))


def test_widths_that_leave_no_room_are_refused(
    make: Callable[..., RefinementNetwork], make_network: Callable[..., RefinementNetwork]
) -> None:
    with pytest.raises(InputError, match="shared_start=true needs a U-Net that sees"):
        make_network(shared_start=True)
    with pytest.raises(InputError, match="they are 32 and 24"):
        make(channels=32, shared_start=True)
    with pytest.raises(InputError, match="hidden_features of at least 64, not 40"):
        make(hidden=40, shared_start=True)


def test_it_is_described_without_reading_weights(make: Callable[..., RefinementNetwork]) -> None:
    with torch.device("meta"):
        assert make(shared_start=True).unet.conv_in.weight.is_meta
