"""Which parameters of a network are trained; all others keep every bit."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rba.errors import InputError
from rba.models.lora import LoraSettings, add_lora, without_lora
from rba.models.network import PARTS, RefinementNetwork

TRAINABLE = ("unet", "cross_attention", "lora", "connector", "encoder")
_OF_UNET = ("unet", "cross_attention", "lora")


def choose_trained(
    network: RefinementNetwork, parts: Sequence[str] | None, lora: LoraSettings | None
) -> None:
    """Let some parts of a network be trained and freeze the rest, in place.

    Args:
        network: Without adapters.
        parts: Of `TRAINABLE`: ``unet`` (whole), ``cross_attention`` (its ``attn2`` modules alone),
            ``lora`` (adapters in it), ``connector`` (the MLP and the null token), ``encoder``.
            None leaves everything as the network was made.
        lora: The adapters; needed for ``lora``.

    Raises:
        InputError: If a name is unknown or names contradict each other, or none is given.
    """
    if parts is None:
        return
    require_consistent(parts)
    mask_token = getattr(getattr(network.encoder, "embeddings", None), "mask_token", None)
    network.requires_grad_(False)
    network.train_encoder = "encoder" in parts
    for name in ("unet", "connector", "encoder"):
        if name in parts:
            getattr(network, name).requires_grad_(True)
    if mask_token is not None:
        mask_token.requires_grad_(False)  # as in RefinementNetwork
    if "cross_attention" in parts:
        for _, module in network.cross_attention_layers():
            module.requires_grad_(True)
    if "lora" in parts:
        if lora is None:
            raise InputError("train_parts=[lora] needs the settings lora.rank, lora.targets ...")
        add_lora(network.unet, lora)


def require_consistent(parts: Sequence[str]) -> None:
    """Refuse a choice of parts that means nothing.

    Raises:
        InputError: Naming what is wrong, and what there is.
    """
    text = f"train_parts=[{','.join(map(str, parts))}]"
    if not parts:
        raise InputError(f"{text} trains nothing; give some of {', '.join(TRAINABLE)}")
    unknown = [name for name in parts if name not in TRAINABLE]
    if unknown:
        raise InputError(f"{text}: {unknown[0]} is none of {', '.join(TRAINABLE)}")
    if len(set(parts)) < len(parts):
        raise InputError(f"{text} names a part twice")
    ways = [name for name in parts if name in _OF_UNET]
    if len(ways) > 1:
        raise InputError(
            f"{text}: {' and '.join(ways)} are two ways to train the U-Net; give one of them"
        )


def require_first_weights(
    parts: Sequence[str] | None, settings: Mapping[str, Any], init_from: str | None
) -> None:
    """Refuse to freeze what has random weights; asks no source.

    Args:
        parts: As in `choose_trained`.
        settings: The group ``model.network``.
        init_from: Where first weights come from, over the parts' sources.

    Raises:
        InputError: Naming the part.
    """
    if parts is None or init_from is not None:
        return
    random = [n for n in ("unet", "connector", "encoder") if not settings[n].get("source")]
    frozen = [name for name in random if name not in parts]
    if frozen:
        raise InputError(
            f"train_parts=[{','.join(parts)}] would leave {frozen[0]} at its random weights; give "
            f"init_from=MODEL, or train it too"
        )


def require_used_inputs(network: RefinementNetwork) -> None:
    """Refuse a frozen first convolution that does not see some of its inputs (widened by zeros).

    Raises:
        InputError: Telling how the network can learn to see them.
    """
    weight: Tensor = network.unet.conv_in.weight
    blind = (weight.detach().abs().amax(dim=(0, 2, 3)) == 0).nonzero().flatten().tolist()
    if blind and not weight.requires_grad:
        raise InputError(
            f"the U-Net's first convolution has only zeros for {len(blind)} of its "
            f"{weight.shape[1]} input channels (from {blind[0]} on), and train_parts freezes it: "
            "it would never see mask and masked image. Start from a trained model "
            "(init_from=MODEL) or inpainting weights, or train the unet whole"
        )


def trained_names(network: nn.Module) -> set[str]:
    """Return the names of the trained parameters."""
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def frozen_digests(network: RefinementNetwork) -> dict[str, str]:
    """Return a SHA-256 by part of all tensors that are not trained; parts without any are left out.

    Reads every byte once: at the paper's scale 5 GB.
    """
    trained = trained_names(network)
    digests: dict[str, str] = {}
    for part in PARTS:
        state = getattr(network, part).state_dict()
        frozen = {without_lora(n): v for n, v in state.items() if f"{part}.{n}" not in trained}
        if frozen:
            digests[part] = _digest(frozen)
    return digests


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
