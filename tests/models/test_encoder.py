"""The reference encoder against transformers' own processor and forward pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BitImageProcessorPil,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SegformerModel,
)

from rba.errors import InputError
from rba.models.encoder import load_encoder, num_tokens, patch_tokens, token_stride, token_width

Settings = dict[str, Any]


@pytest.fixture
def plain(encoder_settings: Settings) -> Dinov2Model:
    torch.manual_seed(0)
    return Dinov2Model(Dinov2Config(**encoder_settings)).eval()


@pytest.fixture
def with_registers(encoder_settings: Settings) -> Dinov2WithRegistersModel:
    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig(**encoder_settings, num_register_tokens=4)
    return Dinov2WithRegistersModel(config).eval()


def pictures(count: int = 2, side: int = 32) -> torch.Tensor:
    """[count, 3, side, side] uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def test_tokens_equal_transformers_own_pipeline_without_the_class_token(plain: Dinov2Model) -> None:
    # DINOv2's published processor with its resizing off: ImageNet's statistics
    processor = BitImageProcessorPil(
        do_resize=False,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    pixels = pictures()
    images = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in pixels]
    expected = plain(**processor(images, return_tensors="pt")).last_hidden_state
    found = patch_tokens(plain, pixels.float() / 127.5 - 1.0)
    assert expected.shape == (2, 65, 16)
    torch.testing.assert_close(found, expected[:, 1:], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_class_and_register_tokens_are_dropped(with_registers: Dinov2WithRegistersModel) -> None:
    images = torch.zeros(1, 3, 32, 32)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    all_tokens = with_registers(pixel_values=(0.5 - mean) / std + images).last_hidden_state
    assert all_tokens.shape[1] == 1 + 4 + 64
    torch.testing.assert_close(patch_tokens(with_registers, images), all_tokens[:, 5:])


@torch.no_grad()
def test_tokens_are_row_major(encoder_settings: Settings) -> None:
    torch.manual_seed(0)
    # without layers a token sees its own patch only
    encoder = Dinov2Model(Dinov2Config(**encoder_settings | {"num_hidden_layers": 0})).eval()
    images = torch.zeros(1, 3, 32, 32)
    changed = images.clone()
    changed[:, :, 3 * 4 : 4 * 4, 5 * 4 : 6 * 4] = 1.0
    difference = (patch_tokens(encoder, changed) - patch_tokens(encoder, images)).abs().amax(-1)
    assert (difference[0] > 1e-6).nonzero().flatten().tolist() == [3 * 8 + 5]


@torch.no_grad()
def test_another_size_than_the_trained_one_is_taken(plain: Dinov2Model) -> None:
    assert patch_tokens(plain, torch.zeros(1, 3, 48, 48)).shape == (1, 144, 16)


@pytest.mark.parametrize(("size", "count"), [(32, 64), (64, 256), (4, 1)])
def test_the_number_of_tokens_follows_from_the_size(
    plain: Dinov2Model, size: int, count: int
) -> None:
    assert num_tokens(plain, size) == count


@pytest.mark.parametrize(("size", "near"), [(33, "32 and 36"), (31, "28 and 32"), (3, "4 and 4")])
def test_a_size_between_patches_is_refused_with_the_nearest(
    plain: Dinov2Model, size: int, near: str
) -> None:
    with pytest.raises(InputError, match=f"reference_size={size} .* patch size 4.* {near}"):
        num_tokens(plain, size)


def test_dinov2_at_224_gives_the_paper_s_256_tokens() -> None:
    with torch.device("meta"):
        encoder = Dinov2Model(Dinov2Config(patch_size=14, num_hidden_layers=0))
    assert num_tokens(encoder, 224) == 256


@torch.no_grad()
def test_a_folder_gives_its_weights_back(
    plain: Dinov2Model, encoder_settings: Settings, tmp_path: Path
) -> None:
    plain.save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path), encoder_settings)
    assert isinstance(loaded, Dinov2Model)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(patch_tokens(loaded, images), patch_tokens(plain, images))


@torch.no_grad()
def test_a_folder_with_registers_gives_that_class(
    with_registers: Dinov2WithRegistersModel, tmp_path: Path
) -> None:
    with_registers.save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path))
    assert isinstance(loaded, Dinov2WithRegistersModel)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(patch_tokens(loaded, images), patch_tokens(with_registers, images))


def test_another_kind_of_model_is_refused_by_name(tmp_path: Path) -> None:
    CLIPVisionConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"clip_vision_model, not one of dinov2"):
        load_encoder(str(tmp_path))


def test_another_architecture_is_refused_with_both_values(
    plain: Dinov2Model, encoder_settings: Settings, tmp_path: Path
) -> None:
    plain.save_pretrained(tmp_path)
    wanted = encoder_settings | {"hidden_size": 1024, "num_hidden_layers": 24}
    with pytest.raises(InputError, match="hidden_size is 16 there, 1024 here") as caught:
        load_encoder(str(tmp_path), wanted)
    assert "num_hidden_layers is 1 there, 24 here" in str(caught.value)
    assert "patch_size" not in str(caught.value)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot open the encoder {tmp_path}"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("damage", ["missing", "garbage", "incomplete"])
def test_weights_that_are_not_whole_are_refused(
    plain: Dinov2Model, tmp_path: Path, damage: str
) -> None:
    plain.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "garbage":
        weights.write_bytes(b"no weights")
    else:
        state = plain.state_dict()
        del state["layernorm.weight"]
        plain.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(InputError, match=f"cannot open Dinov2Model in {tmp_path}"):
        load_encoder(str(tmp_path))


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 16}))
    with pytest.raises(InputError, match="describes no model"):
        load_encoder(str(tmp_path))


def test_an_architecture_builds_random_weights(encoder_settings: Settings) -> None:
    first, second = (load_encoder(None, encoder_settings) for _ in range(2))
    assert {key: getattr(first.config, key) for key in encoder_settings} == encoder_settings
    assert not torch.equal(first.embeddings.cls_token, second.embeddings.cls_token)


def test_an_unknown_setting_is_named(encoder_settings: Settings) -> None:
    with pytest.raises(InputError, match="the encoder knows no setting hiden_size"):
        load_encoder(None, encoder_settings | {"hiden_size": 16})


def test_neither_source_nor_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="neither a source nor an architecture"):
        load_encoder(None)


SEGFORMER: Settings = {
    "model_type": "segformer", "num_encoder_blocks": 2, "strides": [4, 2], "patch_sizes": [7, 3],
    "hidden_sizes": [8, 16], "depths": [1, 1], "num_attention_heads": [1, 2], "sr_ratios": [4, 1],
    "mlp_ratios": [2, 2], "drop_path_rate": 0.0, "hidden_dropout_prob": 0.0,
}  # fmt: skip


@torch.no_grad()
def test_a_segformer_gives_row_major_tokens_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = load_encoder(None, SEGFORMER).eval()
    assert (token_width(encoder), token_stride(encoder)) == (16, 8)
    assert num_tokens(encoder, 64) == 64
    assert patch_tokens(encoder, torch.zeros(2, 3, 32, 48)).shape == (2, 24, 16)
    images = torch.zeros(1, 3, 64, 64)
    changed = images.clone()
    changed[:, :, 40:48, 16:24] = 1.0
    difference = (patch_tokens(encoder, changed) - patch_tokens(encoder, images)).norm(dim=-1)
    row, column = divmod(int(difference.argmax()), 8)
    assert abs(row - 5) <= 1  # patches overlap
    assert abs(column - 2) <= 1

    encoder.save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path), SEGFORMER)
    assert isinstance(loaded, SegformerModel)
    assert torch.equal(patch_tokens(loaded, changed), patch_tokens(encoder, changed))


def test_another_kind_of_architecture_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="model_type=resnet; give one of dinov2"):
        load_encoder(None, {"model_type": "resnet"})
