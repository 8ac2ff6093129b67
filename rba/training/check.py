"""What a configuration would run: parameters, batches, memory; no weight is read."""

# A storage's identity and a module's tensors have no public names.
# pyright: reportPrivateUsage=false

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

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


def saved_activation_bytes(network: RefinementNetwork, image_size: int) -> int:
    """Count the bytes that one sample's forward pass keeps for the backward pass, in float32.

    Runs the trained parts on tensors without memory under autograd's saved-tensor hooks: each
    storage that autograd would keep counts once, parameters do not. The tensors pretend to be on
    the CPU, whose fused attention keeps what a GPU's does; plain meta tensors would count the
    attention probabilities, too.

    Args:
        network: Built on the meta device; not changed.
        image_size: Side of the target in pixels.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    network = _pretend_on_cpu(copy.deepcopy(network), mode).train()
    side = image_size // network.latent_factor
    channels, reference = network.latent_channels, network.reference_size
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            sizes[storage._cdata] = storage.nbytes()
            kept.append(tensor)  # a freed storage's address would be used again
        return tensor

    with mode, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tokens = network.embed_references(torch.zeros(1, 3, reference, reference))
        noisy, masked = torch.zeros(2, 1, channels, side, side)
        masked = network.masked_condition(torch.zeros(1, 3, image_size, image_size), masked)
        timesteps = torch.zeros(1, dtype=torch.int64)
        network.predict(noisy, timesteps, torch.zeros(1, 1, side, side), masked, tokens)
    return sum(sizes.values())


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


def _pretend_on_cpu(network: RefinementNetwork, mode: FakeTensorMode) -> RefinementNetwork:
    """Replace a meta network's tensors by fake ones, which choose their kernels as the CPU does."""
    device = torch.device("cpu")
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = FakeTensor(mode, parameter.detach().to("meta"), device)
                module._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = FakeTensor(mode, buffer.to("meta"), device)
    return network


def memory_estimate(
    network: RefinementNetwork,
    *,
    image_size: int,
    per_device_batch: int,
    precision: str,
    shards: int = 1,
) -> dict[str, float]:
    """Estimate a device's peak memory in GiB by what fills it.

    Weights, gradients and AdamW's two moments stay float32 under mixed precision, and so does the
    average; activations take half in 16 bits. The autoencoder's temporary memory and the
    allocator's waste are not in it.

    Args:
        network: Built on the meta device.
        image_size: Side of the target in pixels.
        per_device_batch: Samples a forward pass.
        precision: Lightning's precision setting.
        shards: Devices over which what is trained is spread. What a block gathers for its own pass
            is not in it.
    """
    total, trained = count_parameters(network)
    own = trained / shards
    activations = saved_activation_bytes(network, image_size) * per_device_batch
    scale = 0.5 if "16" in precision else 1.0
    parts = {
        "weights": 4.0 * (total - trained + own),
        "gradients": 4.0 * own,
        "AdamW": 8.0 * own,
        "EMA": 4.0 * own,
        "activations": scale * activations,
    }
    gib = {name: size / 2**30 for name, size in parts.items()}
    return gib | {"together": sum(gib.values())}


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
