"""The U-Net: layers numbered as they run, 4 channels widened to 9 without changing the output."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from rba.errors import InputError
from rba.models.unet import cross_attention_layers, load_unet, widen_input

Settings = dict[str, Any]

# method.md, "Layer numbering": index, block, queries along one side for 64 x 64 latents (512 px)
LAYERS = [
    ("down_blocks.0.attentions.0", 64),
    ("down_blocks.0.attentions.1", 64),
    ("down_blocks.1.attentions.0", 32),
    ("down_blocks.1.attentions.1", 32),
    ("down_blocks.2.attentions.0", 16),
    ("down_blocks.2.attentions.1", 16),
    ("mid_block.attentions.0", 8),
    ("up_blocks.1.attentions.0", 16),
    ("up_blocks.1.attentions.1", 16),
    ("up_blocks.1.attentions.2", 16),
    ("up_blocks.2.attentions.0", 32),
    ("up_blocks.2.attentions.1", 32),
    ("up_blocks.2.attentions.2", 32),
    ("up_blocks.3.attentions.0", 64),
    ("up_blocks.3.attentions.1", 64),
    ("up_blocks.3.attentions.2", 64),
]


@pytest.fixture
def four(unet_settings: Settings) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return load_unet(None, unet_settings | {"in_channels": 4}).eval()


def inputs(channels: int, side: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(2, channels, side, side, generator=generator),
        "timestep": torch.tensor([10, 900]),
        "encoder_hidden_states": torch.randn(2, 5, 16, generator=generator),
    }


def test_layers_carry_the_names_and_order_of_the_method(four: UNet2DConditionModel) -> None:
    names = [name for name, _ in cross_attention_layers(four)]
    assert names == [f"{block}.transformer_blocks.0.attn2" for block, _ in LAYERS]


@torch.no_grad()
def test_layers_are_numbered_as_they_run_and_see_the_stated_queries(
    four: UNet2DConditionModel,
) -> None:
    layers = dict(cross_attention_layers(four))
    ran: list[tuple[str, int]] = []
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda module, given, output, name=name: ran.append((name, output.shape[1]))
        )
    four(**inputs(4, side=64))
    suffix = ".transformer_blocks.0.attn2"
    assert ran == [(f"{block}{suffix}", side * side) for block, side in LAYERS]


def test_the_named_modules_are_the_network_s_cross_attention(four: UNet2DConditionModel) -> None:
    modules = dict(four.named_modules())
    for name, layer in cross_attention_layers(four):
        assert layer is modules[name]
        assert layer.is_cross_attention
        assert layer.to_k.in_features == 16, "keys come from the reference tokens"


@torch.no_grad()
def test_widening_changes_no_output_whatever_the_new_channels_hold(
    four: UNet2DConditionModel,
) -> None:
    given = inputs(4)
    before = four(**given).sample
    widen_input(four, 9)
    extra = torch.randn(2, 5, 16, 16) * 100.0
    after = four(**given | {"sample": torch.cat([given["sample"], extra], dim=1)}).sample
    torch.testing.assert_close(after, before)
    assert four.config["in_channels"] == 9
    assert (four.conv_in.weight[:, 4:] == 0).all()


def test_the_new_channels_learn(four: UNet2DConditionModel) -> None:
    widen_input(four, 9)
    given = inputs(9)
    four(**given).sample.square().sum().backward()
    assert four.conv_in.weight.grad is not None
    assert (four.conv_in.weight.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_a_wider_source_is_not_cut(four: UNet2DConditionModel) -> None:
    widen_input(four, 9)
    with pytest.raises(InputError, match=r"takes 9 input channels.*only 4; set in_channels=9"):
        widen_input(four, 4)


def test_a_four_channel_folder_is_widened_on_loading(
    four: UNet2DConditionModel, unet_settings: Settings, tmp_path: Path
) -> None:
    four.save_pretrained(tmp_path / "unet")
    loaded = load_unet(str(tmp_path), unet_settings)
    state = loaded.state_dict()
    for name, value in four.state_dict().items():
        if name != "conv_in.weight":
            assert torch.equal(state[name], value), name
    assert torch.equal(state["conv_in.weight"][:, :4], four.conv_in.weight)
    assert state["conv_in.weight"].shape[1] == 9
    assert not state["conv_in.weight"][:, 4:].any()


def test_a_widened_folder_loads_as_it_is(
    four: UNet2DConditionModel, unet_settings: Settings, tmp_path: Path
) -> None:
    widen_input(four, 9)
    torch.nn.init.normal_(four.conv_in.weight)
    four.save_pretrained(tmp_path / "unet")
    for settings in (unet_settings, None):
        loaded = load_unet(str(tmp_path), settings)
        assert torch.equal(loaded.conv_in.weight, four.conv_in.weight)
        assert loaded.config["in_channels"] == 9


def test_another_family_is_refused_with_both_values(
    four: UNet2DConditionModel, unet_settings: Settings, tmp_path: Path
) -> None:
    four.save_pretrained(tmp_path / "unet")
    wanted = unet_settings | {"cross_attention_dim": 768}
    with pytest.raises(InputError, match="cross_attention_dim is 16 there, 768 here") as caught:
        load_unet(str(tmp_path), wanted)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_a_unet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folder unet"):
        load_unet(str(tmp_path))
    (tmp_path / "unet").mkdir()
    with pytest.raises(InputError, match="cannot open UNet2DConditionModel in"):
        load_unet(str(tmp_path))


def test_an_unknown_setting_is_named(unet_settings: Settings) -> None:
    with pytest.raises(InputError, match="UNet2DConditionModel knows no setting layers"):
        load_unet(None, unet_settings | {"layers": 2})
