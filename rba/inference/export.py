"""A training checkpoint becomes a model directory."""

from pathlib import Path

import torch
from torch import Tensor, nn

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import CHECKPOINT_KEY, network_from_checkpoint, read_checkpoint

PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def export_checkpoint(
    checkpoint: Path, output: Path, *, use_ema: bool, dtype: str = "float32"
) -> None:
    """Write the network of a checkpoint as a diffusers pipeline folder (safetensors).

    The folder is written aside and renamed, so it is either whole or not there.

    Args:
        checkpoint: A ``.ckpt`` of a run.
        output: New or empty folder.
        use_ema: Averaged weights instead of the trained ones.
        dtype: Precision of the written weights, one of `PRECISIONS`. Opening gives float32.

    Raises:
        InputError: If the checkpoint cannot be read, the folder is not empty, the precision is
            unknown or a weight does not fit it.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} already exists and is not empty; choose another folder")
    if dtype not in PRECISIONS:
        raise InputError(f"dtype={dtype!r} is unknown; choose {', '.join(PRECISIONS)}")
    contents = read_checkpoint(checkpoint, verify=True)
    network, scheduler = network_from_checkpoint(contents, use_ema=use_ema)
    cast_weights(network, PRECISIONS[dtype])
    facts = contents[CHECKPOINT_KEY]
    pipeline = RefineByAlignPipeline.from_network(
        network, scheduler, image_size=facts["image_size"]
    )
    pipeline.write(output)


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
