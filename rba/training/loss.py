"""The diffusion objective: keyed draws of noise, timestep and drop; targets; the weighted loss."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rba.batch import Batch
from rba.draws import keyed_generator
from rba.errors import InputError

CONDITIONINGS = ("inpaint9", "blended4")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_ZERO_TERMINAL = 1e-6  # share of signal; Stable Diffusion's schedule ends at 4.7e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What the network is trained to do.

    Attributes:
        conditioning: ``inpaint9`` or ``blended4`` (`RefinementNetwork.conditioning`).
        hole_weight: Loss weight of latent cells inside the hole; 1 outside. The weights are
            normalised to mean 1 a sample, so the learning rate keeps its meaning.
        drop_probability: Share of samples whose reference becomes the null condition
            (appendix A.3: 0.1), drawn per sample.
        timestep_range: Half-open range of timesteps; ends within ``num_train_timesteps``.
        timestep_power: 1 = uniform; larger leans towards noise: ``t = T * u ** (1 / power)``.
        min_snr_gamma: Cap of the signal-to-noise ratio by which timesteps are weighted
            (`min_snr_weights`; Hang et al. 2023 take 5); None weighs all alike.
        correspondence_weight: Weight of `correspondence_losses`, for encoders
            that are trained from random weights; 0 = none.

    Raises:
        InputError: If a value is out of range.
    """

    conditioning: str = "inpaint9"
    hole_weight: float = 1.0
    drop_probability: float = 0.1
    timestep_range: tuple[int, int] = (0, 1000)
    timestep_power: float = 1.0
    min_snr_gamma: float | None = None
    correspondence_weight: float = 0.0

    def __post_init__(self) -> None:
        if len(self.timestep_range) != 2:
            raise InputError(f"objective.timestep_range={self.timestep_range}; give [first, end]")
        low, high = self.timestep_range
        checks = {
            "conditioning": self.conditioning in CONDITIONINGS,
            "hole_weight": self.hole_weight > 0,
            "drop_probability": 0 <= self.drop_probability <= 1,
            "timestep_range": 0 <= low < high,
            "timestep_power": self.timestep_power > 0,
            "min_snr_gamma": self.min_snr_gamma is None or self.min_snr_gamma > 0,
            "correspondence_weight": self.correspondence_weight >= 0,
        }
        for name, fits in checks.items():
            if not fits:
                raise InputError(f"objective.{name}={getattr(self, name)} is out of range")

    def check(self, scheduler: Any) -> None:
        """Refuse a noise schedule that contradicts the objective.

        Raises:
            InputError: If timesteps lie outside the schedule, the prediction type is unknown, or
                the schedule ends in pure noise and the objective cannot do with that.
        """
        steps = scheduler.config.num_train_timesteps
        if self.timestep_range[1] > steps:
            raise InputError(
                f"objective.timestep_range={list(self.timestep_range)} exceeds the schedule's "
                f"num_train_timesteps={steps}"
            )
        kind = scheduler.config.prediction_type
        if kind not in PREDICTION_TYPES:
            raise InputError(
                f"prediction_type={kind!r} is unknown; choose {', '.join(PREDICTION_TYPES)}"
            )
        if float(scheduler.alphas_cumprod[-1]) < _ZERO_TERMINAL:
            self._check_zero_terminal(scheduler.config)

    def _check_zero_terminal(self, config: Any) -> None:
        """Refuse what fails where the last timestep holds no signal (Lin et al. 2024)."""
        name = "a schedule of zero terminal SNR (model.scheduler.rescale_betas_zero_snr)"
        if config.prediction_type == "epsilon":
            raise InputError(
                f"objective.prediction_type=epsilon with {name}: at its last timestep the input is "
                "the noise itself, so nothing is learnt; give v_prediction or sample"
            )
        if self.min_snr_gamma is not None:
            raise InputError(
                f"objective.loss.min_snr_gamma={self.min_snr_gamma} with {name}: its last timestep "
                "would weigh nothing; give null"
            )
        if config.get("timestep_spacing", "trailing") != "trailing":
            raise InputError(
                f"model.scheduler.timestep_spacing={config.timestep_spacing} with {name}: sampling "
                "would not start at its last timestep; give trailing"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepDraws:
    """The random numbers of a batch, on the CPU: equal on any device, rank or micro-batch."""

    noise: Tensor
    timesteps: Tensor
    drop: Tensor


def draw_step(
    batch: Batch, objective: Objective, latent_shape: tuple[int, ...], seed: int
) -> StepDraws:
    """Draw noise, timesteps and reference drops, each a pure function of (seed, mode, draw).

    Args:
        batch: Its ``draws`` key the generators.
        objective: Ranges and probabilities.
        latent_shape: (C, h, w) of one latent.
        seed: The run's seed.

    Returns:
        ``noise`` [B, C, h, w] float32, ``timesteps`` [B] int64, ``drop`` [B] bool.
    """
    low, high = objective.timestep_range
    noise, timesteps, drop = [], [], []
    for draw in batch.draws.tolist():
        rng = keyed_generator(seed, "noise", batch.mode, draw)
        noise.append(rng.standard_normal(latent_shape, dtype=np.float32))
        share = keyed_generator(seed, "timestep", batch.mode, draw).random()
        share = share ** (1.0 / objective.timestep_power)
        timesteps.append(min(low + int(share * (high - low)), high - 1))
        chance = keyed_generator(seed, "drop", batch.mode, draw).random()
        drop.append(chance < objective.drop_probability)
    return StepDraws(
        noise=torch.from_numpy(np.stack(noise)),
        timesteps=torch.tensor(timesteps, dtype=torch.int64),
        drop=torch.tensor(drop, dtype=torch.bool),
    )


def regression_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return what the network must predict.

    The noise (``epsilon``), the velocity (``v_prediction``) or the clean latents (``sample``: the
    only one that does not make a narrow network carry the noise of all latent channels).
    """
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return latents if kind == "sample" else noise


def sample_losses(
    prediction: Tensor, target: Tensor, latent_mask: Tensor, hole_weight: float
) -> Tensor:
    """Return each sample's mean squared error, the hole weighted.

    Args:
        prediction: [B, C, h, w].
        target: [B, C, h, w].
        latent_mask: [B, 1, h, w] float, 1 = hole.
        hole_weight: Weight of a hole's cell against 1 outside; normalised to mean 1 a sample.

    Returns:
        [B] float32.
    """
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    weights = 1.0 + (hole_weight - 1.0) * latent_mask
    weights = weights / weights.mean(dim=(1, 2, 3), keepdim=True)
    return (error * weights).mean(dim=(1, 2, 3))


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Return each sample's loss weight by its timestep (Hang et al. 2023, "Min-SNR", section 3.4).

    ``min(SNR, gamma)`` for clean latents. An error of the clean latents is ``SNR`` times as large
    in the noise and ``SNR + 1`` times in the velocity, which the weight of those takes back.

    Args:
        scheduler: Its noise schedule and prediction type.
        timesteps: [B] int64.
        gamma: Cap of the signal-to-noise ratio.

    Returns:
        [B] float32 on the device of ``timesteps``.
    """
    signal = scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = signal / (1.0 - signal)
    divisor = {"epsilon": snr, "v_prediction": snr + 1.0, "sample": torch.ones_like(snr)}
    return snr.clamp(max=gamma) / divisor[scheduler.config.prediction_type]


def hole_errors(prediction: Tensor, target: Tensor, latent_mask: Tensor) -> Tensor:
    """Return each sample's mean squared error inside the hole alone, [B] float32."""
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    return (error * latent_mask).sum(dim=(1, 2, 3)) / latent_mask.sum(dim=(1, 2, 3))
