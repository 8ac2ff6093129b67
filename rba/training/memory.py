"""How much memory of a device a training takes, estimated without any."""

# A storage's identity and a module's tensors have no public names.
# pyright: reportPrivateUsage=false

import contextlib
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from rba.models.network import RefinementNetwork

# bitsandbytes: a moment takes a byte, each block of 256 a float32 beside it; small tensors keep 32
# bits.
_BLOCK, _LEAST = 256, 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """What a training's memory depends on beside its network.

    Attributes:
        image_size: Side of the target in pixels.
        per_device_batch: Samples a forward pass.
        precision: Lightning's precision setting.
        gradient_checkpointing: Blocks of the U-Net are computed again in the backward pass.
        frozen_bfloat16: Autoencoder and frozen encoder are in bfloat16.
        eight_bit: The moments are.
        average: Whether the average is on the device.
        shards: Devices over which what is trained is spread.
    """

    image_size: int
    per_device_batch: int
    precision: str = "32-true"
    gradient_checkpointing: bool = False
    frozen_bfloat16: bool = False
    eight_bit: bool = False
    average: bool = True
    shards: int = 1

    @classmethod
    def of(cls, config: Mapping[str, Any], num_devices: int) -> "MemorySettings":
        """Read them from a composed training configuration as plain containers."""
        speed, ema = (config["callbacks"].get(name) or {} for name in ("speed", "ema"))
        optimizer = str(config["optimizer"]["factory"].get("_target_"))
        return cls(
            image_size=config["model"]["image_size"],
            per_device_batch=config["per_device_batch"],
            precision=str(config["trainer"].get("precision", "32-true")),
            gradient_checkpointing=bool(speed.get("gradient_checkpointing")),
            frozen_bfloat16=speed.get("frozen_dtype") == "bfloat16",
            eight_bit=optimizer.endswith("adamw_8bit"),
            average=bool(ema) and ema.get("device") != "cpu",
            shards=num_devices if config["trainer"].get("strategy") == "fsdp" else 1,
        )

    @property
    def whole_bfloat16(self) -> bool:
        """Whether all weights are in bfloat16."""
        return self.precision == "bf16-true"

    @property
    def mixed(self) -> bool:
        """Whether matrices are multiplied in bfloat16 and weights are not kept so."""
        return self.precision in ("bf16-mixed", "bf16")


def memory_estimate(network: RefinementNetwork, settings: MemorySettings) -> dict[str, float]:
    """Estimate a device's peak memory in GiB by what fills it.

    The peak lies in the backward pass. The autoencoder's temporary memory and the allocator's waste
    are not in it.

    Args:
        network: Built on the meta device, what is trained chosen; not changed.
        settings: What takes less and what takes more.
    """
    sizes = state_bytes(network, settings)
    sizes["activations"] = float(saved_activation_bytes(network, settings))
    gib = {name: size / 2**30 for name, size in sizes.items()}
    return gib | {"together": sum(gib.values())}


def state_bytes(network: RefinementNetwork, settings: MemorySettings) -> dict[str, float]:
    """Return the bytes of weights, gradients, moments and average, activations left out."""
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    own = sum(trained) / settings.shards
    each = 2.0 if settings.whole_bfloat16 else 8.0 if settings.precision.startswith("64") else 4.0
    moments = 2.0 * each * own
    if settings.eight_bit:
        moments = sum(n * (2 + 8 / _BLOCK if n >= _LEAST else 8.0) for n in trained)
    sizes = {
        "weights": each * own + _frozen_bytes(network, settings, each),
        "gradients": each * own,
        "moments": moments,
        "average": 4.0 * own if settings.average else 0.0,
    }
    if settings.shards > 1:
        # A block's parameters and their gradients, whole for its own pass.
        sizes["gathered block"] = 2 * each * max(_gathered(network))
    return sizes


def saved_activation_bytes(network: RefinementNetwork, settings: MemorySettings) -> int:
    """Count the bytes that a forward pass keeps for the backward pass.

    Runs the trained parts on tensors without memory under autograd's saved-tensor hooks: each
    storage that autograd would keep counts once, among them the copies of weights in 16 bits that
    mixed precision makes; parameters do not. With gradient checkpointing it is what the blocks
    were given, and what the largest of them keeps while it is computed again. The tensors pretend
    to be on the CPU, whose fused attention keeps what a GPU's does; plain meta tensors would count
    the attention probabilities, too.

    Args:
        network: Built on the meta device; not changed.
        settings: Sizes, precision, checkpointing.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    network = copy.deepcopy(network)
    if settings.whole_bfloat16:
        network = network.to(torch.bfloat16)
    network = _pretend_on_cpu(network, mode).train()
    kept = _Storages(network)
    if settings.gradient_checkpointing:
        network.unet.enable_gradient_checkpointing(kept.recomputed)
    autocast = torch.autocast("cpu", torch.bfloat16) if settings.mixed else contextlib.nullcontext()
    with mode, autocast, torch.autograd.graph.saved_tensors_hooks(kept.add, _as_it_is):
        run_trained_parts(network, settings.image_size, settings.per_device_batch)
    return sum(kept.sizes.values()) + kept.largest


def run_trained_parts(network: RefinementNetwork, image_size: int, batch: int) -> Tensor:
    """Predict from zeros: the forward pass of a step without its frozen autoencoder."""
    side, reference = image_size // network.latent_factor, network.reference_size
    tokens = network.embed_references(torch.zeros(batch, 3, reference, reference))
    noisy, masked = torch.zeros(2, batch, network.latent_channels, side, side)
    masked = network.masked_condition(torch.zeros(batch, 3, image_size, image_size), masked)
    timesteps = torch.zeros(batch, dtype=torch.int64)
    return network.predict(noisy, timesteps, torch.zeros(batch, 1, side, side), masked, tokens)


class _Storages:
    """Storages that autograd keeps, each once; those of a network's weights are not counted."""

    def __init__(self, network: RefinementNetwork) -> None:
        self._weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
        self._alive: list[Tensor] = []  # a freed storage's address would be used again
        self.sizes: dict[int, int] = {}
        self.largest = 0  # bytes that one block keeps while it is computed again

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights:
            self.sizes[storage._cdata] = storage.nbytes()
            self._alive.append(tensor)
        return tensor

    def recomputed(self, block: Any, *inputs: Any) -> Any:
        """Stand in for `torch.utils.checkpoint`: keep a block's inputs alone."""
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                self.add(tensor)
        within, self.sizes = self.sizes, {}
        outputs = block(*inputs)
        self.largest = max(self.largest, sum(n for k, n in self.sizes.items() if k not in within))
        self.sizes = within
        return outputs


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


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


def _frozen_bytes(network: RefinementNetwork, settings: MemorySettings, each: float) -> float:
    """Return the bytes of the weights that are not trained."""
    total = 0.0
    for name, part in network.named_children():
        rounded = name == "autoencoder" or (name == "encoder" and not network.train_encoder)
        size = 2.0 if rounded and settings.frozen_bfloat16 else each
        total += size * sum(p.numel() for p in part.parameters() if not p.requires_grad)
    return total


def _gathered(network: RefinementNetwork) -> list[int]:
    """Return the parameters of each block that `shard_network` gathers at once."""
    unet: Any = network.unet
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks, network.connector]
    blocks += [network.encoder] if network.train_encoder else []
    return [sum(p.numel() for p in block.parameters()) for block in blocks]
