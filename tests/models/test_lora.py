"""Adapters: without effect at first, merged exactly, and read back by diffusers itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open

from rba.models.lora import (
    ADAPTER_FILE,
    LoraSettings,
    adapter_state,
    add_lora,
    has_lora,
    is_lora,
    merge_lora,
    write_lora,
)
from rba.models.network import RefinementNetwork

Make = Callable[..., RefinementNetwork]
SETTINGS = LoraSettings(rank=3, alpha=7.5, dropout=0.0, targets=["to_q", "attn2.to_v", "to_out.0"])


@torch.no_grad()
def output(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, unet.config["in_channels"], 8, 8, generator=generator)
    tokens = torch.randn(2, 4, unet.config["cross_attention_dim"], generator=generator)
    return unet(sample, torch.tensor([10, 900]), encoder_hidden_states=tokens).sample


def make_effective(unet: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def unets(make_network: Make) -> tuple[Any, Any]:
    """A plain U-Net, and one of the same weights with adapters that do something."""
    plain, adapted = make_network(patch=False).unet.eval(), make_network(patch=False).unet.eval()
    before = output(adapted)
    add_lora(adapted, SETTINGS)
    torch.testing.assert_close(output(adapted), before, rtol=0, atol=0)
    make_effective(adapted)
    return plain, adapted


def test_a_merged_unet_has_the_same_output_and_the_plain_names(unets: tuple[Any, Any]) -> None:
    plain, adapted = unets
    expected = output(adapted)
    assert (expected - output(plain)).abs().max() > 1e-3, "the adapters do something"
    merge_lora(adapted)
    assert not has_lora(adapted)
    assert set(adapted.state_dict()) == set(plain.state_dict())
    torch.testing.assert_close(output(adapted), expected, rtol=1e-5, atol=1e-5)
    changed = {
        name
        for name, value in plain.state_dict().items()
        if not torch.equal(adapted.state_dict()[name], value)
    }
    assert changed
    assert all(name.endswith(("to_q.weight", "attn2.to_v.weight", "to_out.0.weight"))
               for name in changed)  # fmt: skip


def test_diffusers_reads_the_adapter_back_with_equal_output(
    unets: tuple[Any, Any], tmp_path: Path
) -> None:
    plain, adapted = unets
    state = {f"unet.{name}": value for name, value in adapted.state_dict().items()}
    write_lora(adapter_state(state), SETTINGS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ADAPTER_FILE]
    with safe_open(tmp_path / ADAPTER_FILE, framework="pt") as file:
        names, facts = set(file.keys()), file.metadata()
    first = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    assert {f"{first}.down.weight", f"{first}.up.weight"} <= names
    assert len(names) == len([name for name in state if is_lora(name)])
    assert json.loads(facts["lora_adapter_metadata"])["unet.lora_alpha"] == 7.5
    fresh = UNet2DConditionModel.from_config(plain.config)
    fresh.load_state_dict(plain.state_dict())
    fresh.eval().load_lora_adapter(tmp_path, prefix="unet", weight_name=ADAPTER_FILE)  # pyright: ignore
    torch.testing.assert_close(output(fresh), output(adapted), rtol=1e-4, atol=1e-5)


def test_the_same_adapter_gives_the_same_bytes(unets: tuple[Any, Any], tmp_path: Path) -> None:
    state = {f"unet.{name}": value for name, value in unets[1].state_dict().items()}
    for name in ("a", "b"):
        write_lora(adapter_state(state), SETTINGS, tmp_path / name)
    first, second = ((tmp_path / name / ADAPTER_FILE).read_bytes() for name in ("a", "b"))
    assert first == second
