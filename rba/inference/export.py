"""A training checkpoint becomes a model directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rba.errors import InputError
from rba.inference.model_card import write_card
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import (
    BASE_KEY,
    CHECKPOINT_KEY,
    averaged_weights,
    network_state,
    read_checkpoint,
)
from rba.models.lora import LoraSettings, adapter_state, write_lora
from rba.models.origins import CARD
from rba.models.restore import network_from_checkpoint

PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    use_ema: bool,
    dtype: str = "float32",
    base: str | None = None,
    figures: Sequence[str] = (),
) -> None:
    """Write the network of a checkpoint as a diffusers pipeline folder (safetensors) with its card.

    Adapters are merged. The folder is written aside and renamed, so it is either whole or not
    there.

    Args:
        checkpoint: A ``.ckpt`` of a run.
        output: New or empty folder.
        use_ema: Averaged weights instead of the trained ones.
        dtype: Precision of the written weights, one of `PRECISIONS`. Opening gives float32.
        base: Where the weights lie now that a run with ``train_parts`` began with.
        figures: Lines of Markdown for the card: what was measured.

    Raises:
        InputError: If the checkpoint cannot be read, the folder is not empty, the precision is
            unknown or a weight does not fit it, or the weights that it began with are not there.
    """
    contents = _read(checkpoint, output, dtype)
    network, scheduler = network_from_checkpoint(contents, use_ema=use_ema, base=base)
    cast_weights(network, PRECISIONS[dtype])
    facts = contents[CHECKPOINT_KEY]
    pipeline = RefineByAlignPipeline.from_network(
        network, scheduler, image_size=facts["image_size"]
    )
    card = write_card(contents, use_ema=use_ema, dtype=dtype, figures=figures)
    pipeline.write(output, {CARD: card})


def export_adapter(checkpoint: Path, output: Path, *, use_ema: bool) -> None:
    """Write the adapters of a checkpoint alone, as diffusers names them; needs no other weights.

    Args:
        checkpoint: A ``.ckpt`` of a run with ``train_parts=[lora]``.
        output: New or empty folder for ``pytorch_lora_weights.safetensors``.
        use_ema: Averaged weights instead of the trained ones.

    Raises:
        InputError: If the checkpoint cannot be read or its adapters are not all that was trained,
            or the folder is not empty.
    """
    contents = _read(checkpoint, output, "float32")
    base = contents[CHECKPOINT_KEY].get(BASE_KEY, {})
    if base.get("train_parts") != ["lora"]:
        raise InputError(
            f"{checkpoint} is of train_parts={base.get('train_parts')}: an adapter alone "
            "would not be all of it; only train_parts=[lora] gives one. Leave --adapter out"
        )
    state = network_state(contents) | (averaged_weights(contents) if use_ema else {})
    adapter = adapter_state(state)
    for name, tensor in adapter.items():
        _require_finite(name, tensor, torch.float32)
    write_lora(adapter, LoraSettings(**base["lora"]), output)


def _read(checkpoint: Path, output: Path, dtype: str) -> dict[str, Any]:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} already exists and is not empty; choose another folder")
    if dtype not in PRECISIONS:
        raise InputError(f"dtype={dtype!r} is unknown; choose {', '.join(PRECISIONS)}")
    return read_checkpoint(checkpoint, verify=True)


def cast_weights(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast the floating tensors of a network in place.

    Raises:
        InputError: Naming the first tensor that holds a number which is not finite, before or
            after casting; nothing is cast then.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            _require_finite(name, tensor, dtype)
    network.to(dtype)


def _require_finite(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if not tensor.isfinite().all():
        raise InputError(
            f"{name} holds numbers that are not finite: training diverged; export an older "
            "checkpoint"
        )
    if not tensor.to(dtype).isfinite().all():
        precision = str(dtype).removeprefix("torch.")
        raise InputError(
            f"{name} reaches {tensor.abs().max().item():.4g}, {precision} ends at "
            f"{torch.finfo(dtype).max:.4g}; export it with --dtype bfloat16 or float32"
        )
