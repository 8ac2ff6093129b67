"""How much memory of a device a training takes: a step, counted on tensors without memory."""

# A module's tensors have no public names.
# pyright: reportPrivateUsage=false

import contextlib
import copy
import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from rba.batch import PLACES, Batch, Mode
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.speed import Speed
from rba.training.module import RefineByAlignModule
from rba.training.storage_count import StorageCount

# bitsandbytes: a moment takes a byte, each block of 256 a float32 beside it; small tensors keep 32
# bits.
_BLOCK, _LEAST = 256, 4096
_WHOLE = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
_MIXED = ("bf16-mixed", "bf16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """What a training's memory depends on beside its network.

    Attributes:
        image_size: Side of the target in pixels.
        per_device_batch: Samples a forward pass.
        precision: Lightning's precision setting.
        gradient_checkpointing: Blocks of the U-Net are computed again in the backward pass.
        channels_last: Channels of autoencoder and U-Net are last in memory.
        frozen_dtype: Of autoencoder and frozen encoder.
        eight_bit: The moments are.
        average: Whether the average is on the device.
        gradients_stay: Through the backward pass: micro-batches add to them.
        buckets: DDP's, a second copy of the gradients.
        shards: Devices over which what is trained is spread.
        gpu: Whether the device is one: other casts, and an optimiser that takes all weights at
            once.
    """

    image_size: int
    per_device_batch: int
    precision: str = "32-true"
    gradient_checkpointing: bool = False
    channels_last: bool = False
    frozen_dtype: str = "float32"
    eight_bit: bool = False
    average: bool = True
    gradients_stay: bool = False
    buckets: bool = False
    shards: int = 1
    gpu: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any], num_devices: int, accumulation: int) -> "MemorySettings":
        """Read them from a composed training configuration as plain containers."""
        speed, ema = (config["callbacks"].get(name) or {} for name in ("speed", "ema"))
        trainer, optimizer = config["trainer"], str(config["optimizer"]["factory"].get("_target_"))
        known = {name: speed[name] for name in _OF_SPEED if name in speed}
        cpu = trainer.get("accelerator") == "cpu"
        automatic = trainer.get("accelerator") == "auto" and not torch.cuda.is_available()
        return cls(
            image_size=config["model"]["image_size"],
            per_device_batch=config["per_device_batch"],
            precision=str(trainer.get("precision", "32-true")),
            **known,
            eight_bit=optimizer.endswith("adamw_8bit"),
            average=bool(ema) and ema.get("device") != "cpu",
            gradients_stay=accumulation > 1,
            buckets=trainer.get("strategy") == "ddp",
            shards=num_devices if trainer.get("strategy") == "fsdp" else 1,
            gpu=not (cpu or automatic),
        )


_OF_SPEED = ("gradient_checkpointing", "channels_last", "frozen_dtype")
_STATE = ("weights", "gradients", "moments", "average")
_TRAINED, _UPDATE = "trained weights", "update"  # the latter: what an update needs meanwhile


def memory_estimate(outline: RefineByAlignModule, settings: MemorySettings) -> dict[str, Any]:
    """Estimate a device's peak memory in GiB by what fills it at that moment.

    A whole step is run on tensors without memory: update, average, loss, backward pass. What a
    kernel needs inside itself, the allocator's waste, and the device's own (a CUDA context: about
    half a GiB) are not in it; nor is what `torch.compile` saves.

    Args:
        outline: The module around a network on the meta device; not changed.
        settings: What takes less and what takes more.

    Returns:
        GiB of ``weights``, ``gradients``, ``moments``, ``average``, ``activations`` (all else;
        DDP's buckets and what FSDP gathers apart) and ``together`` at the peak, and what goes on
        then, ``peak in``: update, encoding (of the pictures), forward, backward.
    """
    count = count_step(outline, settings)
    sizes = dict.fromkeys(_STATE, 0.0) | count.peak
    for part, whole in ((_TRAINED, "weights"), (_UPDATE, "activations")):
        sizes[whole] = sizes.get(whole, 0.0) + sizes.pop(part, 0.0)
    return {
        **{name: size / 2**30 for name, size in sizes.items()},
        "together": count.most / 2**30,
        "peak in": count.peak_phase,
    }


def count_step(outline: RefineByAlignModule, settings: MemorySettings) -> StorageCount:
    """Run a step on tensors without memory and count them.

    A step of the middle of a run: gradients of the step before and moments are there. The tensors
    pretend to be on the CPU, whose fused attention keeps what a GPU's does; a GPU's casts under
    mixed precision are made in their place. Parameters in shards count by their share, and the
    block that is gathered twice (weights, gradients).

    Args:
        outline: The module around a network on the meta device; not changed.
        settings: Sizes, precision, levers.
    """
    module, mode = copy.deepcopy(outline), FakeTensorMode(allow_non_fake_inputs=True)
    speed = _apply(module, settings)
    _pretend(module, mode)
    count = StorageCount(dict.fromkeys((_TRAINED, _UPDATE, *_STATE[1:]), 1 / settings.shards))
    trained = [p for p in module.parameters() if p.requires_grad]
    count.name("weights", [*module.buffers(), *(p for p in module.parameters())])
    count.name(_TRAINED, trained)
    if not settings.gpu:
        count.name("frozen weights as loaded", speed._exact.values())  # in main memory
    if settings.shards > 1:
        # Frozen weights are whole on each device.
        count.add("gathered block", 2 * trained[0].element_size() * max(_gathered(module.network)))
    if settings.buckets:
        count.add("DDP's buckets", sum(p.numel() * p.element_size() for p in trained))
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(_name_gradient(count))
    module.network.unet.register_forward_pre_hook(lambda *_: setattr(count, "phase", "forward"))
    batch = _empty_batch(module, settings)
    if settings.gpu:
        _cast_like_a_gpu(module.network)
    count.name("activations", [x for x in vars(batch).values() if isinstance(x, Tensor)])
    with mode, count:
        count.phase = count.kind = _UPDATE
        kept = _update(module, trained, count, settings)
        count.phase, count.kind = "encoding", "activations"
        with _autocast(settings):
            loss = module.training_step(batch, 0)
        if not settings.gradients_stay:
            for parameter in trained:
                parameter.grad = None  # Lightning does it here
        count.phase = "backward"
        loss.backward()
    del kept, speed
    return count


def _apply(module: RefineByAlignModule, settings: MemorySettings) -> Speed:
    """Do to a module what `Speed` and then precision do."""
    speed = Speed(**{name: getattr(settings, name) for name in _OF_SPEED})
    trainer: Any = types.SimpleNamespace(precision=settings.precision)
    speed.setup(trainer, module, "fit")
    if settings.precision in _WHOLE:
        nn.Module.to(module.network, _WHOLE[settings.precision])
    module.train()
    return speed


def _update(
    module: RefineByAlignModule,
    trained: list[nn.Parameter],
    count: StorageCount,
    settings: MemorySettings,
) -> list[Any]:
    """Update weights and average; returns what holds moments and average, gradients stay."""
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
        count.name("gradients", [parameter.grad])
    average = EMACallback(0.5)
    if settings.average:
        average.setup(None, module, "fit")  # pyright: ignore
        count.name("average", average.ema.shadow_params)
    optimizer = module.configure_optimizers()["optimizer"]
    if settings.eight_bit:  # tensor by tensor, in place
        count.add("moments", sum(_eight_bit(parameter.numel()) for parameter in trained))
    else:
        for group in optimizer.param_groups:
            if settings.gpu and group.get("foreach", 0) is None and not group.get("fused"):
                group["foreach"] = True  # torch's choice on a GPU
        optimizer.step()
        moments = [x for state in optimizer.state.values() for x in state.values()]
        count.name("moments", [x for x in moments if isinstance(x, Tensor)])
    if settings.average:
        average.update()
    return [optimizer, average]


def _name_gradient(count: StorageCount) -> Any:
    def name(parameter: nn.Parameter) -> None:
        if parameter.grad is not None:
            count.name("gradients", [parameter.grad])

    return name


def _autocast(settings: MemorySettings) -> contextlib.AbstractContextManager[Any]:
    if settings.precision in _MIXED:
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _empty_batch(module: RefineByAlignModule, settings: MemorySettings) -> Batch:
    size, side = settings.per_device_batch, settings.image_size
    view = module.network.reference_size
    return Batch(
        mode=Mode.ALIGNMENT,
        image=torch.zeros(size, 3, side, side, dtype=torch.uint8),
        artifact_mask=torch.ones(size, 1, side, side, dtype=torch.bool),
        reference=torch.zeros(size, 3, view, view, dtype=torch.uint8),
        reference_mask=torch.ones(size, 1, view, view, dtype=torch.bool),
        correspondence_mask=torch.zeros(size, 1, view, view),
        correspondence_known=torch.zeros(size, dtype=torch.bool),
        places=torch.zeros(size, PLACES, PLACES, 2),
        draws=torch.arange(size),
        weight=torch.ones(size),
        sample_ids=("",) * size,
    )


def _cast_like_a_gpu(network: nn.Module) -> None:
    """Let norms compute in float32 under autocast, as on a GPU; the CPU's take 16 bits."""

    def widen(norm: nn.Module, inputs: tuple[Any, ...]) -> Any:
        del norm
        return (inputs[0].float(), *inputs[1:]) if torch.is_autocast_enabled("cpu") else None

    for part in network.modules():
        if isinstance(part, (nn.GroupNorm, nn.LayerNorm)):
            part.register_forward_pre_hook(widen)


def _pretend(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace a meta module's tensors by fake ones, which choose their kernels as the CPU does."""
    device = torch.device("cpu")
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = FakeTensor(mode, parameter.detach().to("meta"), device)
                part._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = FakeTensor(mode, buffer.to("meta"), device)


def _eight_bit(numbers: int) -> float:
    return numbers * (2 + 8 / _BLOCK) if numbers >= _LEAST else numbers * 8.0


def _gathered(network: Any) -> list[int]:
    """Return the parameters of each block that `shard_network` gathers at once."""
    blocks = [*network.unet.down_blocks, network.unet.mid_block, *network.unet.up_blocks]
    blocks += [network.connector, *([network.encoder] if network.train_encoder else [])]
    return [sum(p.numel() for p in block.parameters()) for block in blocks]
