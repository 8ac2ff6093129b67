"""Single weight files in the LDM layout against the diffusers folders of the same weights.

The layout is written by hand below: diffusers' conversion, inverted.
"""

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from rba.errors import InputError
from rba.models import single_file
from rba.models.autoencoder import load_autoencoder
from rba.models.single_file import CONVERSION, check_single_file
from rba.models.unet import load_unet
from rba.settings import compose_config, plain

Settings = dict[str, Any]

Rules = list[tuple[str, str]]

_RESNET: Rules = [
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.norm2\.(?=weight|bias)", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.conv_shortcut\.", ".skip_connection."),
]
_ENDS: Rules = [
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
]
_AUTOENCODER: Rules = [
    (r"\.down_blocks\.(\d)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d)\.resnets\.", r".up.\1.block."),
    (r"\.up_blocks\.(\d)\.upsamplers\.0\.", r".up.\1.upsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
]


def unet_key(name: str) -> str:
    """The key of a U-Net's tensor; three blocks of input and output a resolution."""
    inside = name
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    if found:
        way, block, kind, layer, rest = found.groups()
        first, place = 3 * int(block) + (way == "down"), int(layer)
        side = "input_blocks" if way == "down" else "output_blocks"
        if kind == "downsamplers":
            inside = f"{side}.{first + 2}.0.op.{rest.removeprefix('conv.')}"
        elif kind == "upsamplers":  # the lowest resolution has no attention before it
            inside = f"{side}.{first + 2}.{1 if block == '0' else 2}.{rest}"
        else:
            inside = f"{side}.{first + place}.{int(kind == 'attentions')}.{rest}"
    if "attentions" not in name:
        inside = _renamed(inside, _RESNET)
    inside = _renamed(inside, _ENDS)
    if name.startswith("mid_block.resnets"):
        inside = _renamed(inside, _RESNET)
    return f"model.diffusion_model.{inside}"


def autoencoder_key(name: str, num_blocks: int) -> str:
    """The key of an autoencoder's tensor; the decoder's blocks are counted from the top."""
    turned = re.sub(
        r"up_blocks\.(\d)", lambda m: f"up_blocks.{num_blocks - 1 - int(m.group(1))}", name
    )
    return f"first_stage_model.{_renamed(turned, _AUTOENCODER)}"


def ldm_layout(
    unet: Mapping[str, Tensor], autoencoder: Mapping[str, Tensor], num_blocks: int
) -> dict[str, Tensor]:
    """A single file's tensors; the autoencoder's attention is made of 1 x 1 convolutions there."""
    tensors = {unet_key(name): value for name, value in unet.items()}
    for name, value in autoencoder.items():
        convolution = re.search(r"attentions.*(to_[qkv]|to_out\.0)\.weight", name)
        shaped = value[:, :, None, None] if convolution else value
        tensors[autoencoder_key(name, num_blocks)] = shaped
    return tensors


def write_hollow(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write a safetensors file of zeros that takes no room on the disk: a header and a hole."""
    header: dict[str, dict[str, object]] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture
def unet(unet_settings: Settings) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return load_unet(None, unet_settings).eval()


@pytest.fixture
def tensors(unet: UNet2DConditionModel, kl: AutoencoderKL) -> dict[str, Tensor]:
    """A whole file: both parts, and what others a file holds."""
    others = {
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.ones(16),
        "model_ema.diffusion_modelout2bias": torch.ones(4),
        "alphas_cumprod": torch.ones(1000),
    }
    return ldm_layout(unet.state_dict(), kl.state_dict(), 2) | others


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    kept = {name: value.clone().contiguous() for name, value in tensors.items()}
    if path.suffix == ".ckpt":
        torch.save({"state_dict": kept, "global_step": 7}, path)
    else:
        save_file(kept, path)
    return str(path)


def denoised(unet: UNet2DConditionModel, channels: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 9, 16, 16, generator=generator)[:, :channels]
    tokens = torch.randn(2, 5, 16, generator=generator)
    return unet(latents, torch.tensor([10, 900]), encoder_hidden_states=tokens).sample


@pytest.mark.parametrize("name", ["sd.safetensors", "sd.ckpt"])
@torch.no_grad()
def test_a_file_computes_what_the_folder_of_its_weights_computes(
    unet: UNet2DConditionModel, kl: AutoencoderKL, tensors: dict[str, Tensor],
    unet_settings: Settings, autoencoder_settings: Settings, tmp_path: Path, name: str,
) -> None:  # fmt: skip
    unet.save_pretrained(tmp_path / "unet")
    kl.save_pretrained(tmp_path / "vae")
    source = write(tmp_path / name, tensors)
    from_file, from_folder = (load_unet(s, unet_settings) for s in (source, str(tmp_path)))
    assert torch.equal(denoised(from_file), denoised(from_folder))
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    found: Any
    expected: Any
    found, expected = (load_autoencoder(s, autoencoder_settings) for s in (source, str(tmp_path)))
    latents = expected.encode(pictures).latent_dist.mode()
    assert torch.equal(found.encode(pictures).latent_dist.mode(), latents)
    assert torch.equal(found.decode(latents).sample, expected.decode(latents).sample)
    assert not from_file.training
    assert not any(p.is_meta for p in (*from_file.parameters(), *found.parameters()))
    assert all(p.requires_grad for p in from_file.parameters())


@torch.no_grad()
def test_four_channels_are_widened_without_changing_the_output(
    kl: AutoencoderKL, unet_settings: Settings, tmp_path: Path
) -> None:
    four = load_unet(None, unet_settings | {"in_channels": 4}).eval()
    source = write(tmp_path / "sd.safetensors", ldm_layout(four.state_dict(), kl.state_dict(), 2))
    loaded = load_unet(source, unet_settings)
    assert loaded.config["in_channels"] == 9
    torch.testing.assert_close(denoised(loaded), denoised(four, 4))


def test_half_precision_loads_as_float32(
    tensors: dict[str, Tensor], unet_settings: Settings, tmp_path: Path
) -> None:
    source = write(tmp_path / "sd.safetensors", {k: v.half() for k, v in tensors.items()})
    loaded = load_unet(source, unet_settings)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_an_autoencoder_s_own_file_needs_no_prefix(
    kl: AutoencoderKL, tensors: dict[str, Tensor], autoencoder_settings: Settings, tmp_path: Path
) -> None:
    prefix = "first_stage_model."
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    loaded = load_autoencoder(write(tmp_path / "vae.safetensors", own), autoencoder_settings)
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value) for name, value in kl.state_dict().items())


@pytest.fixture(scope="module")
def paper() -> Settings:
    """`conf/model/paper.yaml`: the family's configuration."""
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    return plain(compose_config("train", ["experiment=paper", *shards]).model.network)


def full_shapes(paper: Settings, **changes: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**paper["unet"]["architecture"] | changes)
        autoencoder = AutoencoderKL(**paper["autoencoder"]["architecture"])
    tensors = ldm_layout(unet.state_dict(), autoencoder.state_dict(), 4)
    return {name: tuple(value.shape) for name, value in tensors.items()}


@pytest.mark.parametrize("channels", [4, 9])
def test_the_header_of_a_file_at_the_paper_s_size_is_enough_to_check_it(
    paper: Settings, tmp_path: Path, channels: int
) -> None:
    path = tmp_path / "sd15.safetensors"
    shapes = full_shapes(paper, in_channels=channels)
    assert len([name for name in shapes if name.startswith("model.")]) == 686  # SD-1.5's files
    assert len([name for name in shapes if name.startswith("first_stage_model.")]) == 248
    write_hollow(path, shapes)
    check_single_file(UNet2DConditionModel, str(path), paper["unet"]["architecture"])
    check_single_file(AutoencoderKL, str(path), paper["autoencoder"]["architecture"])


@pytest.mark.parametrize(
    ("width", "family"),
    [(1024, "Stable Diffusion 2"), (2048, "SDXL"), (640, "an unknown family")],
)
def test_another_family_is_refused_from_the_header_with_the_reason(
    paper: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, family: str
) -> None:
    path = tmp_path / "other.safetensors"
    write_hollow(path, full_shapes(paper, cross_attention_dim=width))
    monkeypatch.setattr(single_file, "_weights", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(InputError, match=rf"of {family} \(cross_attention_dim {width}\)") as caught:
        load_unet(str(path), paper["unet"]["architecture"])
    assert "of Stable Diffusion 1 (cross_attention_dim 768)" in str(caught.value)


def test_a_checkpoint_with_more_than_weights_is_refused_with_the_way_to_convert_it(
    tensors: dict[str, Tensor], unet: UNet2DConditionModel, unet_settings: Settings,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    old, new = tmp_path / "old.ckpt", tmp_path / "old.safetensors"
    torch.save({"state_dict": tensors, "callbacks": {Path: 1}}, old)
    with pytest.raises(InputError, match="more than weights") as caught:
        load_unet(str(old), unet_settings)
    assert f'python -c "{CONVERSION}" {old} {new}' in str(caught.value)
    monkeypatch.setattr("sys.argv", ["-c", str(old), str(new)])
    exec(CONVERSION, {})
    state = load_unet(str(new), unet_settings).state_dict()
    assert all(torch.equal(state[name], value) for name, value in unet.state_dict().items())


def test_what_a_file_lacks_or_holds_otherwise_is_named(
    tensors: dict[str, Tensor], unet: UNet2DConditionModel, unet_settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "sd.safetensors"
    lacking = {k: v for k, v in tensors.items() if k != "model.diffusion_model.out.2.bias"}
    with pytest.raises(InputError, match=r"lacks 1 tensors, conv_out\.bias first"):
        load_unet(write(path, lacking), unet_settings)
    other = tensors | {"model.diffusion_model.out.2.bias": torch.zeros(8)}
    with pytest.raises(InputError, match=r"conv_out\.bias is \(8,\) there, \(4,\) here"):
        load_unet(write(path, other), unet_settings)
    other = tensors | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 8, 3, 3)}
    with pytest.raises(InputError, match="8 input channels; 4 or 9 fit"):
        load_unet(write(path, other), unet_settings)
    with pytest.raises(InputError, match="part of a diffusers folder"):
        load_unet(write(path, unet.state_dict()), unet_settings)
    with pytest.raises(InputError, match="states no architecture"):
        load_unet(write(path, tensors), None)


@pytest.mark.parametrize("name", ["sd.safetensors", "sd.ckpt"])
def test_a_file_that_was_cut_short_or_is_not_there_is_refused(
    tensors: dict[str, Tensor], unet_settings: Settings, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match=f"{name} does not exist; give a file"):
        load_unet(str(tmp_path / name), unet_settings)
    path = Path(write(tmp_path / name, tensors))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="damaged"):
        load_unet(str(path), unet_settings)
