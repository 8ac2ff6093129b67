"""The alignment stage (Algorithm 1): where on the reference the artifact's content lies."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rba.attention.capture import capture_attention
from rba.attention.correspondence import ArtifactQueries, correspondence_map
from rba.errors import InputError
from rba.inference.noise import NoiseSource
from rba.inference.sampler import (
    Condition,
    evaluating,
    fresh_scheduler,
    latent_shape,
    make_condition,
    network_placement,
    predict,
    step_arguments,
    with_known,
)
from rba.models.network import RefinementNetwork

Cells = Mapping[int, Sequence[int]]
"""Which maps are wanted: sampler step index -> layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
    """Which cross-attention the correspondence map is read from.

    Attributes:
        sampler_step_index: t. 0 is the FIRST sampler step, the noisiest (timestep ~981 of 1000):
            one U-Net forward on pure noise. ``num_inference_steps - 1`` is the last, the cleanest.
        layer: l, in execution order, 0-15. The paper chose t = 0, l = 9.
        cells: Further (t, l) pairs; the result is the mean over all. Empty = the single cell of
            Algorithm 1.
        num_noises: The result is the mean over this many starting noises.
        num_inference_steps: T, which says what timestep ``sampler_step_index`` means.
        show_artifact: Let the network see the artifact; False blanks the hole as training does.
    """

    sampler_step_index: int = 0
    layer: int = 9
    cells: tuple[tuple[int, int], ...] = ()
    num_noises: int = 1
    num_inference_steps: int = 50
    show_artifact: bool = False

    def wanted(self) -> dict[int, list[int]]:
        """Return all wanted maps: sampler step index -> layers, without doubles."""
        wanted: dict[int, list[int]] = {}
        for step, layer in dict.fromkeys(((self.sampler_step_index, self.layer), *self.cells)):
            wanted.setdefault(step, []).append(layer)
        return wanted


def align(
    network: RefinementNetwork,
    scheduler: Any,
    *,
    image: Tensor,
    artifact_mask: Tensor,
    reference: Tensor,
    noise: NoiseSource,
    settings: AlignmentSettings,
) -> Tensor:
    """Compute the correspondence maps of a batch ([0] Algorithm 1, steps 1-7).

    The U-Net runs conditionally, without guidance; it stops after the last layer that is needed.
    Later steps than 0 take z_t from the sampler's own path from z_T. The network's modules keep
    their training or evaluation modes.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        image: [B, 3, H, W] in [-1, 1], H = W; its hole is blanked here.
        artifact_mask: [B, 1, H, W] bool or {0, 1}, not empty.
        reference: [B, 3, R, R] in [-1, 1], the complete reference.
        noise: Called with purpose ``alignment-0``, ``alignment-1``, ... for z_T.
        settings: Step, layer, means.

    Returns:
        [B, n, n] float32 on the network's device; each map sums to 1.

    Raises:
        InputError: If a step or layer does not exist, or the attention is not finite.

    [0] Refine-by-Align, Algorithm 1.
    """
    if settings.num_noises < 1:
        raise InputError(f"num_noises is {settings.num_noises}; it must be at least 1")
    wanted = settings.wanted()
    with evaluating(network):
        condition = alignment_condition(
            network, image, artifact_mask, reference, show_artifact=settings.show_artifact
        )
        maps = [
            found
            for index in range(settings.num_noises)
            for _, layers in walk_attention(
                network,
                scheduler,
                condition,
                artifact_mask,
                noise(f"alignment-{index}", latent_shape(network, condition)),
                cells=wanted,
                num_inference_steps=settings.num_inference_steps,
            )
            for found in layers.values()
        ]
    result = torch.stack(maps).mean(dim=0)
    if not bool(torch.isfinite(result).all()):
        raise InputError("the attention is not finite; try other weights, or float32")
    return result


def alignment_condition(
    network: RefinementNetwork,
    image: Tensor,
    artifact_mask: Tensor,
    reference: Tensor,
    *,
    show_artifact: bool = False,
) -> Condition:
    """Return the condition of the alignment stage: the complete reference embedded.

    Where all examples show one defect, each with another reference, it is encoded once.
    """
    device, dtype = network_placement(network)
    tokens = network.embed_references(reference.to(device, dtype))
    same = all(bool((given == given[:1]).all()) for given in (image, artifact_mask))
    shown = slice(1 if same else len(image))
    condition = make_condition(
        network, image[shown], artifact_mask[shown], tokens, show_artifact=show_artifact
    )
    return dataclasses.replace(
        condition,
        latent_mask=condition.latent_mask.expand(len(image), -1, -1, -1),
        masked_latents=condition.masked_latents.expand(len(image), -1, -1, -1),
    )


def walk_attention(
    network: RefinementNetwork,
    scheduler: Any,
    condition: Condition,
    artifact_mask: Tensor,
    noise: Tensor,
    *,
    cells: Cells,
    num_inference_steps: int,
) -> Iterator[tuple[int, dict[int, Tensor]]]:
    """Walk the sampler's path from z_T and yield the wanted maps step by step.

    One forward a step serves all layers; the last step stops after its last wanted layer.

    Args:
        network: The four parts, in evaluation mode.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        condition: Of B examples.
        artifact_mask: [B, 1, H, W] in pixels.
        noise: [B, C, h, w], z_T.
        cells: Which maps are wanted.
        num_inference_steps: T.

    Yields:
        (sampler step index, {layer: [B, n, n] float32}) for each step of ``cells``, in order.

    Raises:
        InputError: If a step or layer does not exist.
    """
    device, _ = network_placement(network)
    scheduler = fresh_scheduler(scheduler, num_inference_steps, device)
    layers = network.cross_attention_layers()
    _check_cells(cells, len(scheduler.timesteps), len(layers))
    arguments = step_arguments(scheduler)
    queries = ArtifactQueries(artifact_mask.to(device))
    shares: dict[str, Tensor] = {}

    def select(name: str, count: int) -> Tensor:
        rows, shares[name] = queries(count)
        return rows

    latents = noise.to(device, torch.float32) * scheduler.init_noise_sigma
    last = max(cells)
    for index, timestep in enumerate(scheduler.timesteps[: last + 1]):
        wanted = {layers[layer][0]: layer for layer in sorted(cells.get(index, ()))}
        chosen = [(name, layers[layer][1]) for name, layer in wanted.items()]
        stop_after = chosen[-1][0] if index == last else None  # then there is no prediction
        latents = prediction = with_known(network, scheduler, condition, latents, noise, timestep)
        with capture_attention(chosen, stop_after=stop_after, select=select) as captured:
            prediction = predict(network, scheduler, condition, latents, timestep)
        if wanted:
            maps = {
                layer: correspondence_map(captured[name], shares[name])
                for name, layer in wanted.items()
            }
            yield index, maps
        if index < last:
            latents = scheduler.step(prediction, timestep, latents, **arguments).prev_sample


def _check_cells(cells: Cells, num_steps: int, num_layers: int) -> None:
    for step, layers in cells.items():
        if not 0 <= step < num_steps:
            raise InputError(
                f"sampler_step_index {step} does not exist; with {num_steps} sampler steps it is "
                f"0 (the noisiest) to {num_steps - 1}"
            )
        for layer in layers:
            if not 0 <= layer < num_layers:
                raise InputError(f"layer {layer} does not exist; the U-Net has 0-{num_layers - 1}")
    if not any(cells.values()):
        raise InputError("no (step, layer) cell is wanted; name at least one")
