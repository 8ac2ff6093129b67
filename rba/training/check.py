"""What a configuration would run: parameters and batches; no weight is read."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rba.errors import InputError
from rba.models.lora import has_lora
from rba.models.network import PARTS, RefinementNetwork
from rba.training.optim import count_parameters


def count_parts(network: RefinementNetwork) -> dict[str, tuple[int, int]]:
    """Return (all, trained) parameter counts by part."""
    return {name: count_parameters(getattr(network, name)) for name in PARTS}


def trained_line(network: RefinementNetwork) -> str:
    """Say in one line what is trained and what is frozen, in parameters."""
    counts = count_parts(network)
    trained = [
        f"{'lora' if has_lora(getattr(network, name)) else name} {number:,}"
        for name, (_, number) in counts.items()
        if number
    ]
    frozen = [
        f"{name} {total - number:,}" for name, (total, number) in counts.items() if total > number
    ]
    return f"trained parameters: {', '.join(trained)}; frozen: {', '.join(frozen) or 'none'}"


def require_fitting_parts(network: RefinementNetwork, image_size: int, batch: int) -> None:
    """Refuse sizes and widths at which a training step would fail, by one without memory.

    Args:
        network: Built on the meta device.
        image_size: Side of the target in pixels.
        batch: Samples a forward pass.

    Raises:
        InputError: Naming the size, or the part's own complaint.
    """
    factor, side = network.latent_factor, network.reference_size
    if image_size % factor:
        low = image_size // factor * factor
        raise InputError(
            f"model.image_size={image_size} is no multiple of {factor}, the pixels of a latent "
            f"cell; the nearest are {low} and {low + factor}"
        )
    meta = torch.device("meta")
    try:
        with torch.no_grad(), meta:
            tokens = network.embed_references(torch.zeros(batch, 3, side, side))
            visible = torch.zeros(batch, 3, image_size, image_size)
            latents = network.encode_images(visible)
            masked = network.masked_condition(visible, latents)
            timesteps = torch.zeros(batch, dtype=torch.int64)
            network.predict(latents, timesteps, latents[:, :1], masked, tokens)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"the parts of model.network do not work together at image_size={image_size} and "
            f"reference_size={side}: {str(error).splitlines()[0]}"
        ) from error


def batch_arithmetic(
    config: Mapping[str, Any], num_devices: int, accumulation: int
) -> dict[str, Any]:
    """Return how a global batch is made up."""
    nodes = config["trainer"]["num_nodes"]
    return {
        "global batch": config["global_batch"],
        "machines": nodes,
        "devices": num_devices,
        "samples a device and forward pass": config["per_device_batch"],
        "micro-batches a step": accumulation,
        "together": f"{nodes} x {num_devices // nodes} x {config['per_device_batch']} x "
        f"{accumulation} = {config['global_batch']}",
    }


def report(facts: dict[str, Any]) -> str:
    """Lay out nested facts as indented lines, numbers grouped by thousands."""
    return "\n".join(_lines(facts, 0))


def _lines(facts: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{'  ' * depth}{key}:")
            lines += _lines(value, depth + 1)  # pyright: ignore
        else:
            text = f"{value:,}" if isinstance(value, int) else value
            text = f"{text:.2f}" if isinstance(text, float) else text
            lines.append(f"{'  ' * depth}{key}: {text}")
    return lines


def on_meta(build: Any) -> nn.Module:
    """Call ``build`` so that every tensor it makes has a shape and no memory."""
    with torch.device("meta"):
        return build()
