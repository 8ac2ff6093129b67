"""The container: parts that fit, what is frozen, and what goes into the U-Net."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rba.errors import InputError
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder, patch_tokens
from rba.models.network import PARTS, RefinementNetwork
from rba.models.unet import load_unet

Make = Callable[..., RefinementNetwork]


@pytest.fixture
def parts(encoder_settings: dict[str, Any], unet_settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "autoencoder": PatchAutoencoder(patch_size=4),
        "encoder": load_encoder(None, encoder_settings),
        "connector": Connector(16, 32, 16),
        "unet": load_unet(None, unet_settings | {"in_channels": 97, "out_channels": 48}),
    }


def references(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    ("part", "build", "message"),
    [
        ("autoencoder", lambda: PatchAutoencoder(patch_size=2), r"in_channels.*is 97.*need 25"),
        ("connector", lambda: Connector(16, 32, 24), r"cross_attention_dim is 16.*need 24"),
        ("connector", lambda: Connector(24, 32, 16), r"connector\.in_features is 24.*need 16"),
    ],
)
def test_parts_whose_widths_do_not_fit_are_refused(
    parts: dict[str, Any], part: str, build: Callable[[], Any], message: str
) -> None:
    RefinementNetwork(**parts, reference_size=32)
    with pytest.raises(ValueError, match=message):
        RefinementNetwork(**parts | {part: build()}, reference_size=32)


def test_a_unet_of_other_channels_is_refused(
    parts: dict[str, Any], unet_settings: dict[str, Any]
) -> None:
    for channels, message in (((96, 48), "is 96.*need 97"), ((97, 24), "out_channels is 24")):
        unet = load_unet(
            None, unet_settings | {"in_channels": channels[0], "out_channels": channels[1]}
        )
        with pytest.raises(ValueError, match=message):
            RefinementNetwork(**parts | {"unet": unet}, reference_size=32)


@pytest.fixture
def seeing(parts: dict[str, Any], unet_settings: dict[str, Any]) -> RefinementNetwork:
    """A network whose U-Net sees the encoder's tokens of the masked image."""
    width = parts["encoder"].config.hidden_size
    settings = unet_settings | {"in_channels": 97 + width, "out_channels": 48}
    return RefinementNetwork(
        **parts | {"unet": load_unet(None, settings)}, reference_size=32, train_encoder=True
    )


def test_the_encoders_width_beyond_the_inpainting_input_asks_for_its_tokens(
    parts: dict[str, Any], seeing: RefinementNetwork
) -> None:
    assert seeing.sees_target_tokens
    plain = RefinementNetwork(**parts, reference_size=32)
    assert not plain.sees_target_tokens
    visible = references(2)
    latents = plain.encode_images(visible)
    assert plain.masked_condition(visible, latents) is latents


@torch.no_grad()
def test_each_latent_cell_gets_the_mean_of_its_tokens(seeing: RefinementNetwork) -> None:
    visible = references(2)
    seeing.eval()
    latents = seeing.encode_images(visible)[..., ::2, ::2]  # [2, 48, 4, 4]
    condition = seeing.masked_condition(visible, latents)
    tokens = patch_tokens(seeing.encoder, visible)
    side = int(tokens.shape[1] ** 0.5)
    grid = tokens.reshape(2, side, side, -1).permute(0, 3, 1, 2)
    expected = F.avg_pool2d(grid, side // 4) if side > 4 else grid
    assert torch.equal(condition[:, :48], latents)
    torch.testing.assert_close(condition[:, 48:], expected)


def test_an_image_need_not_have_the_references_size(seeing: RefinementNetwork) -> None:
    visible = torch.rand(1, 3, 64, 48)
    condition = seeing.masked_condition(visible, seeing.encode_images(visible))
    assert condition.shape == (1, 48 + seeing.encoder.config.hidden_size, 16, 12)


def test_the_tokens_reach_the_unet_and_train_the_encoder(seeing: RefinementNetwork) -> None:
    seen: list[torch.Tensor] = []
    seeing.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    visible = references(2)
    noisy = seeing.encode_images(visible)
    condition = seeing.masked_condition(visible, noisy)
    mask = torch.ones_like(noisy[:, :1])
    null = seeing.null_tokens(2)
    seeing.predict(noisy, torch.tensor(9), mask, condition, null).square().mean().backward()
    (stacked,) = seen
    assert torch.equal(stacked, torch.cat([noisy, mask, condition], dim=1))
    gradient = seeing.encoder.embeddings.patch_embeddings.projection.weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("channels", [99, 133])
def test_other_channels_beyond_it_are_refused(
    parts: dict[str, Any], unet_settings: dict[str, Any], channels: int
) -> None:
    unet = load_unet(None, unet_settings | {"in_channels": channels, "out_channels": 48})
    with pytest.raises(ValueError, match=f"is {channels}.*need 97"):
        RefinementNetwork(**parts | {"unet": unet}, reference_size=32)


def test_a_reference_size_between_patches_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="reference_size=34"):
        RefinementNetwork(**parts, reference_size=34)


@pytest.mark.parametrize(("patch", "factor", "channels"), [(True, 4, 48), (False, 2, 4)])
@torch.no_grad()
def test_factor_and_channels_of_the_latents_are_what_the_autoencoder_makes(
    make_network: Make, patch: bool, factor: int, channels: int
) -> None:
    network = make_network(patch=patch).eval()
    assert (network.latent_factor, network.latent_channels) == (factor, channels)
    images = references(2)
    latents = network.encode_images(images)
    assert latents.shape == (2, channels, 32 // factor, 32 // factor)
    assert network.decode_latents(latents).shape == images.shape


def test_the_scaling_factor_goes_in_and_out(parts: dict[str, Any]) -> None:
    plain = RefinementNetwork(**parts, reference_size=32)
    doubled = PatchAutoencoder(patch_size=4, scaling_factor=2.0)
    network = RefinementNetwork(**parts | {"autoencoder": doubled}, reference_size=32)
    images = references()
    torch.testing.assert_close(network.encode_images(images), 2.0 * plain.encode_images(images))
    decoded = network.decode_latents(network.encode_images(images))
    torch.testing.assert_close(decoded, images, atol=5e-6, rtol=0)


def test_decoded_pixels_stay_in_range(network: RefinementNetwork) -> None:
    decoded = network.decode_latents(torch.randn(1, 48, 8, 8) * 50)
    assert decoded.min() == -1.0
    assert decoded.max() == 1.0


@torch.no_grad()
def test_tokens_are_the_connector_of_the_encoder_s(network: RefinementNetwork) -> None:
    tokens = network.embed_references(references())
    assert tokens.shape == (3, 64, 16)
    assert network.num_tokens == 64
    expected = network.connector(patch_tokens(network.encoder, references()))
    torch.testing.assert_close(tokens, expected)


@torch.no_grad()
def test_dropping_is_per_sample_and_gives_the_null_tokens(network: RefinementNetwork) -> None:
    kept = network.embed_references(references())
    drop = torch.tensor([False, True, False])
    tokens = network.embed_references(references(), drop)
    assert torch.equal(tokens[[0, 2]], kept[[0, 2]])
    assert torch.equal(tokens[1], network.null_tokens(1)[0])
    assert network.null_tokens(2).shape == (2, 64, 16)
    assert not torch.equal(tokens[1], kept[1])


def test_a_dropped_sample_trains_the_null_token_only(network: RefinementNetwork) -> None:
    tokens = network.embed_references(references(2), torch.tensor([True, True]))
    tokens.square().sum().backward()
    connector = network.connector
    assert connector.null_token.grad is not None
    assert connector.null_token.grad.abs().min() > 0
    weights = [layer.weight.grad for layer in connector.layers if hasattr(layer, "weight")]
    assert all(grad is not None and not grad.any() for grad in weights), "zeros, for equal sets"


def test_the_unet_sees_noise_mask_and_masked_image_in_diffusers_order(
    network: RefinementNetwork,
) -> None:
    seen: list[torch.Tensor] = []
    hook = network.unet.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    noisy, masked = torch.full((2, 48, 8, 8), 1.0), torch.full((2, 48, 8, 8), 3.0)
    mask = torch.full((2, 1, 8, 8), 2.0)
    output = network.predict(noisy, torch.tensor([5, 7]), mask, masked, network.null_tokens(2))
    hook.remove()
    assert output.shape == noisy.shape
    assert seen[0].shape == (2, 97, 8, 8)
    assert (seen[0][:, :48] == 1.0).all()
    assert (seen[0][:, 48] == 2.0).all()
    assert (seen[0][:, 49:] == 3.0).all()


@torch.no_grad()
def test_the_prediction_depends_on_every_input(network: RefinementNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy, masked = torch.randn(2, 1, 48, 8, 8, generator=generator)
    mask = torch.zeros(1, 1, 8, 8)
    tokens = network.embed_references(references(1))
    given = [noisy, torch.tensor([500]), mask, masked, tokens]
    base = network.predict(*given)
    changes = [noisy + 1, torch.tensor([100]), mask + 1, masked + 1, network.null_tokens(1)]
    for index, changed in enumerate(changes):
        other = network.predict(*given[:index], changed, *given[index + 1 :])
        assert (other - base).abs().max() > 1e-5, f"input {index} has no effect"


def trained(network: RefinementNetwork) -> set[str]:
    return {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("patch", [True, False])
def test_autoencoder_and_encoder_are_frozen_and_stay_in_evaluation_mode(
    make_network: Make, patch: bool
) -> None:
    network = make_network(patch=patch).train()
    assert trained(network) == {"connector", "unet"}
    for frozen in (network.autoencoder, network.encoder):
        assert not any(module.training for module in frozen.modules())
    assert all(module.training for module in network.unet.modules())
    assert network.connector.training
    assert not any(module.training for module in network.eval().modules())


def test_a_trained_encoder_trains_all_that_its_tokens_use(make_network: Make) -> None:
    network = make_network(train_encoder=True).train()
    assert trained(network) == {"encoder", "connector", "unet"}
    assert all(module.training for module in network.encoder.modules())
    assert not network.autoencoder.training
    network.embed_references(references()).square().sum().backward()
    missing = [
        name
        for name, parameter in network.encoder.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert missing == []
    assert not network.encoder.embeddings.mask_token.requires_grad


def test_gradients_end_at_the_frozen_parts(make_network: Make) -> None:
    network = make_network().train()
    images = references(2)
    latents = network.encode_images(images)
    assert not latents.requires_grad
    tokens = network.embed_references(images, torch.tensor([True, False]))
    mask = torch.ones(2, 1, 8, 8)
    network.predict(latents, torch.tensor([1, 2]), mask, latents, tokens).square().sum().backward()
    with_gradient = {
        name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None
    }
    assert with_gradient == {"connector", "unet"}
    without = [
        name
        for name, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())
    ]
    assert without == [], "the same set of parameters takes part in every step"


def test_there_are_sixteen_layers_in_execution_order(network: RefinementNetwork) -> None:
    layers = network.cross_attention_layers()
    assert len(layers) == 16
    assert layers[6][0].startswith("mid_block")
    assert layers[9][0] == "up_blocks.1.attentions.2.transformer_blocks.0.attn2"


def test_its_description_is_plain_and_names_every_part(network: RefinementNetwork) -> None:
    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {type(value)}.union(*(kinds(item) for item in value.values()))
        if isinstance(value, list):
            return {list}.union(*(kinds(item) for item in value))
        return {type(value)}

    description = network.describe()
    assert tuple(description) == PARTS
    assert [part["class"] for part in description.values()] == [
        "PatchAutoencoder",
        "Dinov2Model",
        "Connector",
        "UNet2DConditionModel",
    ]
    assert kinds(description) <= {dict, list, str, int, float, bool, type(None)}
    assert description["unet"]["config"]["block_out_channels"] == [8, 8, 16, 16]
    assert description["encoder"]["config"]["hidden_size"] == 16
    assert not [key for part in description.values() for key in part["config"] if key[0] == "_"]


def test_many_pictures_go_through_the_autoencoder_in_turns(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images, calls = RefinementNetwork(**parts, reference_size=32), references(5), []
    whole = network.encode_images(images)
    encode = network.autoencoder.encode
    network.autoencoder.encode = lambda x: (calls.append(len(x)), encode(x))[1]
    monkeypatch.setattr("rba.models.network._PIXELS_AT_ONCE", 2 * 32 * 32 + 1)
    torch.testing.assert_close(network.encode_images(images), whole)
    assert calls == [2, 2, 1]
    monkeypatch.setattr("rba.models.network._PIXELS_AT_ONCE", 1)
    torch.testing.assert_close(network.encode_images(images), whole)
    assert calls[3:] == [1] * 5
