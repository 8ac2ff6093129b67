"""What every stage shares: the condition of the U-Net, one prediction, and the sampling loop."""

import contextlib
import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn

from rba.errors import InputError
from rba.geometry import mask_to_latent
from rba.models.network import RefinementNetwork, blend_known

StepCallback = Callable[[int, int, Tensor], Tensor | None]
"""Called after each sampler step with (step index, number of steps, latents [B, C, h, w]).

Latents that it returns replace them.
"""
Interrupted = Callable[[], bool]
"""Asked after each sampler step: True ends the sampling with the latents as they are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """What the U-Net sees beside the noisy latents.

    Attributes:
        latent_mask: [B, 1, h, w] float, 1 = repaint.
        masked_latents: [B, C, h, w], latents of the image with its hole blanked; beyond C
            channels, the encoder's tokens of it (`RefinementNetwork.masked_condition`).
        tokens: [B, N, width], the reference embedding.
    """

    latent_mask: Tensor
    masked_latents: Tensor
    tokens: Tensor

    def doubled(self, null_tokens: Tensor) -> "Condition":
        """Return the [null; conditional] batch of classifier-free guidance."""
        return Condition(
            latent_mask=torch.cat([self.latent_mask] * 2),
            masked_latents=torch.cat([self.masked_latents] * 2),
            tokens=torch.cat([null_tokens, self.tokens]),
        )


def network_placement(network: RefinementNetwork) -> tuple[torch.device, torch.dtype]:
    """Return the device that the U-Net computes on, and its weights' dtype.

    With accelerate's hooks (`enable_model_cpu_offload`) the weights wait elsewhere.
    """
    weight = next(network.unet.parameters())
    hook = getattr(network.unet, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return weight.device if device is None else torch.device(device), weight.dtype


def make_condition(
    network: RefinementNetwork,
    image: Tensor,
    artifact_mask: Tensor,
    tokens: Tensor,
    *,
    show_artifact: bool = False,
) -> Condition:
    """Blank the hole as training does, encode, and pool the mask to the latent grid.

    Args:
        network: The four parts.
        image: [B, 3, H, W] in [-1, 1].
        artifact_mask: [B, 1, H, W] bool or {0, 1}, 1 = repaint.
        tokens: [B, N, width].
        show_artifact: Encode the image with its artifact; training never does.
    """
    device, dtype = network_placement(network)
    mask = artifact_mask.to(device, torch.float32)
    image = image.to(device, torch.float32)
    visible = (image if show_artifact else image * (1.0 - mask)).to(dtype)
    return Condition(
        latent_mask=mask_to_latent(mask, network.latent_factor).to(dtype),
        masked_latents=network.masked_condition(visible, network.encode_images(visible)),
        tokens=tokens,
    )


def latent_shape(network: RefinementNetwork, condition: Condition) -> tuple[int, ...]:
    """Return [B, C, h, w] of the latents that belong to a condition."""
    count, _, height, width = condition.masked_latents.shape
    return count, network.latent_channels, height, width


def predict(
    network: RefinementNetwork, scheduler: Any, condition: Condition, latents: Tensor, step: Any
) -> Tensor:
    """Run the U-Net once at a timestep; float32 latents in, float32 prediction out."""
    scaled = scheduler.scale_model_input(latents, step).to(condition.masked_latents.dtype)
    return network.predict(
        scaled, step, condition.latent_mask, condition.masked_latents, condition.tokens
    ).float()


def with_known(
    network: RefinementNetwork,
    scheduler: Any,
    condition: Condition,
    latents: Tensor,
    noise: Tensor,
    timestep: Tensor,
) -> Tensor:
    """Return what a step starts from: with ``blended4``, the known latents outside the hole.

    Args:
        network: Its `conditioning` decides.
        scheduler: Noises the known latents to the timestep.
        condition: Of B examples, not doubled.
        latents: [B, C, h, w] of the sampler.
        noise: [B, C, h, w] that the sampler started from: the known latents get the same.
        timestep: Scalar.
    """
    if network.conditioning != "blended4":
        return latents
    known = condition.masked_latents.to(latents)
    noised = scheduler.add_noise(known, noise.to(latents), timestep.expand(len(known)))
    return blend_known(latents, noised, condition.latent_mask)


def fresh_scheduler(scheduler: Any, num_inference_steps: int, device: torch.device) -> Any:
    """Return a copy of a diffusers scheduler, set to a number of steps; the given one stays.

    Raises:
        InputError: If the noise schedule has not so many steps.
    """
    most = scheduler.config.num_train_timesteps
    if not 1 <= num_inference_steps <= most:
        raise InputError(
            f"{num_inference_steps} sampler steps do not exist; the noise schedule allows 1 to "
            f"{most}"
        )
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_inference_steps, device=device)
    return scheduler


def check_steps(scheduler: Any, num_inference_steps: int) -> None:
    """Refuse a number of steps that a scheduler lacks, before anything is computed.

    Raises:
        InputError: In this case.
    """
    fresh_scheduler(scheduler, num_inference_steps, torch.device("cpu"))


def step_arguments(
    scheduler: Any, eta: float = 0.0, generator: torch.Generator | None = None
) -> dict[str, Any]:
    """Return those of ``eta`` and ``generator`` that this kind of scheduler's ``step`` takes."""
    taken = inspect.signature(scheduler.step).parameters
    offered = {"eta": eta, "generator": generator}
    return {name: value for name, value in offered.items() if name in taken}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How latents are sampled.

    Attributes:
        num_inference_steps: Sampler steps; the paper's T.
        guidance_scale: Classifier-free guidance; 1 = none.
        eta: Stochasticity of DDIM; 0 = deterministic.

    Raises:
        InputError: If a number is out of range.
    """

    num_inference_steps: int = 50
    guidance_scale: float = 5.0
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise InputError(f"{self.num_inference_steps} sampler steps; give at least 1")
        if not math.isfinite(self.guidance_scale):
            raise InputError(f"guidance_scale {self.guidance_scale}; give a finite number, 1 = off")
        if not 0.0 <= self.eta <= 1.0:
            raise InputError(f"eta {self.eta}; give 0 to 1")


def sample(
    network: RefinementNetwork,
    scheduler: Any,
    condition: Condition,
    noise: Tensor,
    settings: SamplerSettings,
    *,
    generator: torch.Generator | None = None,
    callback: StepCallback | None = None,
    interrupted: Interrupted | None = None,
) -> Tensor:
    """Sample latents from noise under a condition, with classifier-free guidance.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        condition: Of B examples.
        noise: [B, C, h, w] standard normal.
        settings: Steps, guidance, eta.
        generator: For stochastic schedulers.
        callback: Called after each step.
        interrupted: Asked after each step.

    Returns:
        [B, C, h, w] float32 scaled latents.
    """
    device, _ = network_placement(network)
    scheduler = fresh_scheduler(scheduler, settings.num_inference_steps, device)
    arguments = step_arguments(scheduler, settings.eta, generator)
    given, guided = condition, settings.guidance_scale != 1.0
    if guided:
        null_tokens = network.null_tokens(len(noise)).to(condition.tokens)
        condition = condition.doubled(null_tokens)
    latents = noise.to(device, torch.float32) * scheduler.init_noise_sigma
    for index, timestep in enumerate(scheduler.timesteps):
        latents = with_known(network, scheduler, given, latents, noise, timestep)
        batch = torch.cat([latents, latents]) if guided else latents
        prediction = predict(network, scheduler, condition, batch, timestep)
        if guided:
            null, conditional = prediction.chunk(2)
            prediction = null + settings.guidance_scale * (conditional - null)
        latents = scheduler.step(prediction, timestep, latents, **arguments).prev_sample
        if callback is not None:
            changed = callback(index, len(scheduler.timesteps), latents)
            latents = latents if changed is None else changed
        if interrupted is not None and interrupted():
            break
    if network.conditioning == "blended4":
        return blend_known(latents, given.masked_latents, given.latent_mask)
    return latents


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Generator[None]:
    """Switch to evaluation mode without gradients; every module's own mode comes back on exit."""
    training = [module for module in network.modules() if module.training]
    for module in training:  # of a network in use none: `eval` would set all of a thousand anew
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
