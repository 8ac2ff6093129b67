"""The training loop of diffusers' example trainers for our parts, and a counter of waits."""

import collections
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.utils._python_dispatch import TorchDispatchMode

from rba.geometry import mask_to_latent
from rba.models.encoder import patch_tokens

_COPIES = ("_to_copy", "copy_")
_SPOKEN = ("item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal")


class Waits(TorchDispatchMode):
    """Counts what lets the host wait for the device, by the line of ours that asks.

    Numbers that are asked for, and copies between host and device that were not told to go on
    behind the host's back. The latter show on a GPU alone; for machines without one,
    `tests/training/test_no_waits.py` runs a step on torch's meta device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at one operation."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _SPOKEN or (name in _COPIES and _is_blocking(args, kwargs or {}, result)):
            # The optimiser's own, without a frame of ours, read the count of steps, which lies on
            # the host on every device.
            frames = [f for f in traceback.extract_stack() if "/rba/" in f.filename]
            if frames:
                self.places[f"{Path(frames[-1].filename).name}:{frames[-1].name}"] += 1
        return result


def _is_blocking(args: Any, kwargs: dict[str, Any], result: Any) -> bool:
    """Return whether a copy goes from one device to another and the host waits for it."""
    devices = {t.device.type for t in (*args, result) if isinstance(t, torch.Tensor)}
    return len(devices) > 1 and not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))


class Reference:
    """The loop of diffusers' example trainers, for this network and these inputs."""

    def __init__(self, network: Any, scheduler: Any, config: Any, device: str) -> None:
        self.network, self.scheduler, self.device = network.to(device).train(), scheduler, device
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=1e-5, betas=(0.9, 0.999), weight_decay=1e-2
        )
        self.schedule = get_scheduler("constant", self.optimizer)
        self.ema = EMAModel(self.trained, decay=config.callbacks.ema.decay)
        self.ema.to(device)
        self.drop = config.objective.loss.drop_probability
        bf16 = "bf16" in str(config.trainer.precision)
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=bf16)

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        """Do one."""
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        with self.autocast:
            loss = self._loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.ema.step(self.trained)

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        network, vae = self.network, self.network.autoencoder
        scale = vae.config.scaling_factor
        latents = vae.encode(batch["pixels"]).latent_dist.sample() * scale
        masked = vae.encode(batch["masked_pixels"]).latent_dist.sample() * scale
        mask = mask_to_latent(batch["mask"], network.latent_factor)
        noise = torch.randn_like(latents)
        steps = self.scheduler.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), device=latents.device).long()
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        drop = torch.rand(len(latents), 1, 1, device=latents.device) < self.drop
        with torch.no_grad():
            features = patch_tokens(network.encoder, batch["reference"])
        tokens = network.connector(features)
        null = network.connector.null_tokens(len(tokens), network.num_tokens)
        tokens = torch.where(drop, null, tokens)
        inputs = torch.cat([noisy, mask, masked], dim=1)
        prediction = network.unet(inputs, timesteps, encoder_hidden_states=tokens).sample
        return F.mse_loss(prediction.float(), noise.float(), reduction="mean")
