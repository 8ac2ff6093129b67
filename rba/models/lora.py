"""Low-rank adapters of the U-Net, by peft: put in, merged, and written as diffusers names them."""

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from torch import Tensor, nn

from rba.errors import InputError

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
_NAME = "default"  # of the adapter in peft's parameter names


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Size and places of the adapters (Hu et al., LoRA, ICLR 2022).

    Attributes:
        rank: Of each pair of matrices, at least 1.
        alpha: The adapter's output is multiplied by ``alpha / rank``; above 0.
        dropout: Share of its input that is dropped in training, at least 0 and below 1.
        targets: Ends of the names of the U-Net's layers that get one.

    Raises:
        InputError: If one is out of range.
    """

    rank: int
    alpha: float
    dropout: float
    targets: Sequence[str]

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"lora.rank={self.rank}; give 1 or more")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"lora.alpha={self.alpha}; give a number above 0")
        if not 0 <= self.dropout < 1:
            raise InputError(f"lora.dropout={self.dropout}; give at least 0 and below 1")
        if not self.targets or not all(self.targets):
            raise InputError(f"lora.targets={list(self.targets)}; give names such as [to_q, to_k]")

    def plain(self) -> dict[str, Any]:
        """Return the settings in plain containers, as a checkpoint keeps them."""
        return dataclasses.asdict(self) | {"targets": list(self.targets)}

    def of_peft(self) -> LoraConfig:
        """Return them as peft takes them."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore  # peft computes with any number
            lora_dropout=self.dropout,
            target_modules=list(self.targets),
        )


def add_lora(unet: Any, settings: LoraSettings) -> None:
    """Put adapters into a U-Net, in place: they start without effect, and they alone are trained.

    Args:
        unet: `UNet2DConditionModel`.
        settings: Size and places.

    Raises:
        InputError: If a target names no layer that can have one.
    """
    names = {name for name, module in unet.named_modules() if isinstance(module, nn.Linear)}
    for target in settings.targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            ends = sorted({".".join(name.split(".")[-2:]) for name in names})
            raise InputError(
                f"lora.targets: {target} ends the name of no linear layer of the U-Net; they end "
                f"in {', '.join(ends)}"
            )
    # peft loads bitsandbytes where it is installed, and that warns of kernels nobody asked for.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    unet.add_adapter(settings.of_peft(), adapter_name=_NAME)


def has_lora(module: nn.Module) -> bool:
    """Return whether adapters are in a module."""
    return any(is_lora(name) for name, _ in module.named_parameters())


def is_lora(name: str) -> bool:
    """Return whether a parameter's name is one of an adapter."""
    return ".lora_A." in name or ".lora_B." in name


def merge_lora(unet: Any) -> None:
    """Add what the adapters do to the weights and take them out, in place."""
    unet.fuse_lora(safe_fusing=True)
    unet.unload_lora()


def without_lora(name: str) -> str:
    """Return the name that a tensor has where no adapter stands before it."""
    return name.replace(".base_layer.", ".")


def write_lora(state: Mapping[str, Tensor], settings: LoraSettings, folder: Path) -> None:
    """Write an adapter as ``pytorch_lora_weights.safetensors``, as diffusers' own scripts do.

    ``unet.load_lora_adapter(FOLDER, prefix="unet", weight_name=ADAPTER_FILE)`` reads it back with
    its scale.

    Args:
        state: The adapter's tensors by their names in the U-Net.
        settings: Its settings.
        folder: Where to.
    """
    plain = {name.replace(f".{_NAME}.", "."): value.contiguous() for name, value in state.items()}
    facts = settings.of_peft().to_dict()
    told = {key: sorted(value) if isinstance(value, set) else value for key, value in facts.items()}
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(plain),
        unet_lora_adapter_metadata=told,
        weight_name=ADAPTER_FILE,
    )
    _sort_header(folder / ADAPTER_FILE)


def _sort_header(path: Path) -> None:
    """Bring a safetensors file's header into one order; the library leaves it to chance."""
    contents = path.read_bytes()
    length = int.from_bytes(contents[:8], "little")
    header = json.dumps(json.loads(contents[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors start at multiples of 8
    partial = path.with_suffix(".partial")
    partial.write_bytes(len(header).to_bytes(8, "little") + header + contents[8 + length :])
    partial.replace(path)


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the adapters' tensors of a network's state, by their names in the U-Net."""
    found = {name.removeprefix("unet."): value for name, value in state.items() if is_lora(name)}
    return {name: value.to(torch.float32) for name, value in found.items()}
