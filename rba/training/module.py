"""The LightningModule: it wires network, objective and optimiser, and does no maths of its own."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from rba.batch import Batch
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.geometry import mask_to_latent
from rba.models.checkpoint import BASE_KEY, CHECKPOINT_KEY, describe_scheduler
from rba.models.network import RefinementNetwork, blend_known
from rba.training.changed_settings import renew_optimizer
from rba.training.correspondence import correspondence_losses
from rba.training.first_weights import add_frozen, keep_trained
from rba.training.host_copy import to_device
from rba.training.loss import (
    Objective,
    draw_step,
    hole_errors,
    min_snr_weights,
    regression_target,
    sample_losses,
)
from rba.training.loss_meter import LossMeter
from rba.training.optim import lay_out_moments, parameter_groups, warmup_then_constant
from rba.training.sharding import shard_network
from rba.training.validation import ValidationMeters, ValidationSettings, correspondence_maps


class StepLosses(NamedTuple):
    """Losses of a batch: [B] each; timesteps on the CPU."""

    losses: Tensor  # of the diffusion objective, the hole weighted
    in_hole: Tensor
    timesteps: Tensor
    correspondence: Tensor  # of the encoder's tokens; 0 where it is off


OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class RefineByAlignModule(LightningModule):
    """Object completion guided by a reference, one mode a batch (method: Training).

    Args:
        network: The four parts.
        scheduler: A diffusers scheduler: its noise schedule and prediction type.
        objective: Loss, drop and timestep settings.
        optimizer: Called with the named parameter groups.
        learning_rates: Rate by part: ``connector``, ``unet`` and, where trained, ``encoder``.
        warmup_steps: Optimiser steps of linear warm-up.
        seed: Keys every draw.
        validation: What validation measures.
        facts: Plain containers kept in each checkpoint (configuration, image size).

    Attributes:
        update_done: 0 where the last step's update was left out, else 1, on the device; None where
            nothing leaves one out.
        gradient_norm: Of the last step, before clipping; None where nothing measures it.

    Raises:
        InputError: If objective, schedule and learning rates contradict each other.
    """

    def __init__(
        self,
        network: RefinementNetwork,
        scheduler: Any,
        objective: Objective,
        *,
        optimizer: OptimizerFactory,
        learning_rates: Mapping[str, float],
        warmup_steps: int = 0,
        seed: int = 0,
        validation: ValidationSettings | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        objective.check(scheduler)
        _require_trained_encoder(network, objective)
        _require_conditioning(network, objective)
        self.network = network
        self.scheduler = scheduler
        self.objective = objective
        self.seed = seed
        self.update_done: Tensor | None = None
        self.gradient_norm: Tensor | None = None
        self.validation = validation or ValidationSettings()
        self.facts = dict(facts or {})
        self.meter = LossMeter(scheduler.config.num_train_timesteps)
        layers, timesteps = network.cross_attention_layers(), scheduler.config.num_train_timesteps
        self.validation.check(len(layers), timesteps)
        self._make_groups = functools.partial(parameter_groups, network, learning_rates)
        self._make_optimizer = optimizer
        self._check_optimizer(warmup_steps)
        self._warmup_steps = warmup_steps
        self._drops = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in network.modules())
        self._validation_meters = ValidationMeters()
        self._described: dict[str, Any] | None = None

    def _seed_of_dropout(self, batch: Batch) -> int:
        """Key dropout by the micro-batch, so that no random state has to be saved."""
        generator = keyed_generator(self.seed, "dropout", batch.mode, int(batch.draws[0]))
        return int(generator.integers(2**63))

    def _check_optimizer(self, warmup_steps: int) -> None:
        """Refuse unfit settings of the optimiser now, not after the data have been opened."""
        if type(warmup_steps) is not int or warmup_steps < 0:
            raise InputError(f"optimizer.warmup_steps={warmup_steps}; give a whole number >= 0")
        groups = self._make_groups()
        try:
            self._make_optimizer(groups)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"optimizer.factory: {error}") from error

    def on_train_start(self) -> None:
        """Put right what a checkpoint brought."""
        lay_out_moments(self.optimizers(use_pl_optimizer=False))  # pyright: ignore

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean weighted loss of a batch; means by mode go to the meter."""
        del batch_idx
        if self._drops:
            torch.manual_seed(self._seed_of_dropout(batch))
        losses, in_hole, timesteps, correspondence = self.losses(batch, self.objective)
        self.meter.add(batch.mode, losses, in_hole, timesteps, batch.weight)
        if self.objective.correspondence_weight:
            self.meter.add_correspondence(batch.mode, correspondence, batch.weight)
        losses = losses + self.objective.correspondence_weight * correspondence
        return (losses * batch.weight).sum() / batch.weight.sum().clamp(min=1.0)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Measure a batch; returns its maps [B, L, n, n] for the pictures."""
        del batch_idx, dataloader_idx
        undropped = dataclasses.replace(self.objective, drop_probability=0.0)
        losses = self.losses(batch, undropped).losses
        maps = correspondence_maps(self.network, self.scheduler, batch, self.validation, self.seed)
        self._validation_meters.of(batch, maps.shape[1]).add(batch, maps, losses)
        return maps

    def on_validation_epoch_end(self) -> None:
        """Log mean IoU and loss by set, over all ranks."""
        for which, measured in self._validation_meters.take(self.device).items():
            named = self._name_measures(*measured)
            # Lightning would log one step too early; it takes the step from this key.
            step = {"step": float(self.global_step)}
            self.log_dict(
                {f"{name}_{which}": value for name, value in named.items()} | step,
                sync_dist=True,
            )

    def _name_measures(self, miou: Any, loss: float, unknown: float) -> dict[str, float]:
        named = {f"miou_layer{layer:02d}": float(value) for layer, value in enumerate(miou)}
        chosen = {
            "miou": named[f"miou_layer{self.validation.layer:02d}"],
            "loss": loss,
            "unknown_matches": unknown,
        }
        return {f"validation/{name}": value for name, value in chosen.items()} | {
            f"validation_by_layer/{name}": value for name, value in named.items()
        }

    def losses(self, batch: Batch, objective: Objective) -> StepLosses:
        """Noise the clean latents, predict, and compare."""
        network, pixels = self.network, batch.normalized()
        # One call for both pictures: raw pixels => scaled latents.
        latents, masked = network.encode_images(
            torch.cat([pixels.image, pixels.masked_image])
        ).chunk(2)
        visible = network.encode_tokens(pixels.masked_image) if network.sees_target_tokens else None
        masked = network.masked_condition(pixels.masked_image, masked, visible)
        draws = draw_step(batch, objective, tuple(latents.shape[1:]), self.seed)
        noise = to_device(draws.noise, latents.device).to(latents.dtype)
        timesteps = to_device(draws.timesteps, latents.device)
        mask = mask_to_latent(pixels.artifact_mask, network.latent_factor)
        if objective.conditioning == "blended4":
            latents = blend_known(latents, masked, mask)  # noised and predicted as one picture
        features = network.encode_tokens(pixels.reference)
        tokens = network.connect(features, to_device(draws.drop, latents.device))
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        prediction = network.predict(noisy, timesteps, mask, masked, tokens)
        target = regression_target(self.scheduler, latents, noise, timesteps)
        losses = sample_losses(prediction, target, mask, objective.hole_weight)
        if objective.min_snr_gamma is not None:
            losses = losses * min_snr_weights(self.scheduler, timesteps, objective.min_snr_gamma)
        correspondence = torch.zeros_like(losses)
        if objective.correspondence_weight and visible is not None:
            correspondence = correspondence_losses(
                visible, features, batch.places, batch.reference_mask
            )
        in_hole = hole_errors(prediction.detach(), target, mask)
        return StepLosses(losses, in_hole, draws.timesteps, correspondence)

    def configure_model(self) -> None:
        """Spread the trained parameters over the ranks where the strategy does."""
        if self._device_mesh is not None:
            self._described = self.network.describe()  # sharding renames the parts' classes
            shard_network(self.network, self._device_mesh["data_parallel"])

    @property
    def has_shards(self) -> bool:
        """Whether the strategy spreads the parameters; then all ranks call the network together."""
        return self._device_mesh is not None

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip; by norm without measuring it once more.

        Lightning refuses a fused optimiser with ``bf16-mixed``, though no loss is scaled there.
        """
        if not gradient_clip_val:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif self.has_shards or self.gradient_norm is None:  # of a rank's own shards
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        else:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, self.gradient_norm)

    def configure_optimizers(self) -> Any:
        """Build the optimiser over the named groups, and the warm-up schedule by step."""
        optimizer = self._make_optimizer(self._make_groups())
        schedule = warmup_then_constant(optimizer, self._warmup_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the optimiser's settings of now win, and add what was not trained, so not saved."""
        add_frozen(checkpoint, self.network, self.facts)
        made = self.configure_optimizers()
        renew_optimizer(checkpoint, made["optimizer"], made["lr_scheduler"]["scheduler"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint describe its own network, in plain containers (weights-only)."""
        checkpoint[CHECKPOINT_KEY] = {
            "network": self._described or self.network.describe(),
            "scheduler": describe_scheduler(self.scheduler),
            "reference_size": self.network.reference_size,
            "train_encoder": self.network.train_encoder,
            **self.facts,
        }
        if BASE_KEY in self.facts:
            checkpoint["state_dict"] = keep_trained(checkpoint["state_dict"], self.network)


def _require_conditioning(network: RefinementNetwork, objective: Objective) -> None:
    if network.conditioning != objective.conditioning:
        channels, found = network.latent_channels, network.unet.config["in_channels"]
        raise InputError(
            f"objective.loss.conditioning={objective.conditioning} but the U-Net takes {found} "
            f"channels: model.network.unet.architecture.in_channels is {channels} for blended4, "
            f"{2 * channels + 1} for inpaint9"
        )


def _require_trained_encoder(network: RefinementNetwork, objective: Objective) -> None:
    teaches = network.train_encoder and network.sees_target_tokens
    if objective.correspondence_weight and not teaches:
        raise InputError(
            f"objective.loss.correspondence_weight={objective.correspondence_weight} needs an "
            "encoder that is trained (model.network.train_encoder=true) and a U-Net that sees its "
            "tokens of the masked image (in_channels larger by the encoder's width); give 0"
        )
