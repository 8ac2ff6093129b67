"""Settings that trade time, memory and digits, put on a network before it trains."""

# Dynamo's limit of recompilations has no public name.
# pyright: reportPrivateImportUsage=false

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from rba.errors import InputError
from rba.models.network import RefinementNetwork

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_PREFIX = "network."
# Blocks of one class share one count: each width, size and mode (training, validation) is one.
_RECOMPILE_LIMIT = 64


class Speed(Callback):
    """Prepare the network when the run starts; names, checkpoints and exports stay what they are.

    Belongs before the moving average, which takes over how the weights lie in memory.

    Args:
        gradient_checkpointing: Compute the U-Net's blocks once more in the backward pass instead
            of keeping what they computed.
        channels_last: Let the channels of autoencoder and U-Net be last in memory, as convolutions
            on GPUs want them in 16 bits.
        compile: None, or the backend (``inductor``) with which `torch.compile` compiles the
            transformer blocks of the U-Net, each alone ("regional": seconds instead of minutes).
        frozen_dtype: ``float32``, or ``bfloat16`` in which frozen parts then compute, whatever
            the trainer's precision. Checkpoints keep their weights as they were loaded.

    Raises:
        InputError: If a value is unknown.
    """

    def __init__(
        self,
        *,
        gradient_checkpointing: bool = False,
        channels_last: bool = False,
        compile: str | None = None,
        frozen_dtype: str = "float32",
    ) -> None:
        if frozen_dtype not in _DTYPES:
            raise InputError(
                f"callbacks.speed.frozen_dtype={frozen_dtype}; give {' or '.join(_DTYPES)}"
            )
        self.gradient_checkpointing = gradient_checkpointing
        self.channels_last = channels_last
        self.compile = compile
        self.frozen_dtype = _DTYPES[frozen_dtype]
        # Name in a checkpoint -> a frozen weight as it was loaded; empty where nothing is rounded.
        self._exact: dict[str, Tensor] = {}
        if compile is not None:
            _require_backend(compile)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the settings on the network; it is still on the CPU."""
        network: Any = pl_module.network
        if self.gradient_checkpointing:
            network.unet.enable_gradient_checkpointing()
        if self.channels_last:
            for part in (network.autoencoder, network.unet):
                part.to(memory_format=torch.channels_last)
        if self.compile is not None:
            limits: Any = torch._dynamo.config  # pyright: ignore
            limits.recompile_limit = max(limits.recompile_limit, _RECOMPILE_LIMIT)
            # Sizes never change in a run: one kernel for each is the fastest.
            network.unet.compile_repeated_blocks(backend=self.compile, dynamic=False)
        frozen = _frozen_parts(network)
        if self.frozen_dtype != torch.float32 or str(trainer.precision) == "bf16-true":
            self._exact = {
                f"{_PREFIX}{name}.{key}": weight.clone()
                for name, part in frozen.items()
                for key, weight in part.state_dict().items()
            }
        if self.frozen_dtype != torch.float32:
            for part in frozen.values():
                nn.Module.to(part, self.frozen_dtype)  # diffusers' own would warn of nothing

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the frozen weights unrounded."""
        state = checkpoint["state_dict"]
        state.update({name: weight for name, weight in self._exact.items() if name in state})

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the frozen weights of the checkpoint."""
        state = checkpoint["state_dict"]  # without frozen weights where those are named alone
        self._exact = {
            name: state.get(name, weight).clone() for name, weight in self._exact.items()
        }


def _frozen_parts(network: RefinementNetwork) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {"autoencoder": network.autoencoder}
    return parts if network.train_encoder else parts | {"encoder": network.encoder}


def _require_backend(name: str) -> None:
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        raise InputError(
            f"callbacks.speed.compile={name} is no backend of torch.compile; give inductor or null"
        )
