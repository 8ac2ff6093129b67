"""Both stages from end to end on pictures of any size (method: Refinement)."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rba.errors import InputError
from rba.inference.align import align
from rba.inference.frames import (
    images_to_tensor,
    masks_to_tensor,
    paste_back,
    tensor_to_images,
)
from rba.inference.guidance import region_tokens
from rba.inference.locate import locate_region, prepare_frames
from rba.inference.noise import GeneratorNoise, KeyedNoise, NoiseSource
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.inference.sampler import (
    Interrupted,
    StepCallback,
    check_steps,
    evaluating,
    latent_shape,
    make_condition,
    network_placement,
    sample,
)
from rba.models.network import RefinementNetwork


def refine(
    network: RefinementNetwork,
    scheduler: Any,
    request: RefinementRequest,
    settings: RefinementSettings,
    **options: Any,
) -> RefinementResult:
    """Refine one image; a batch of one of `refine_many`, whose options it takes."""
    return refine_many(network, scheduler, [request], settings, **options)[0]


def refine_many(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    *,
    generator: torch.Generator | None = None,
    callback: StepCallback | None = None,
) -> list[RefinementResult]:
    """Align and refine images, ``settings.batch_size`` at a time, each mask as one defect.

    Args:
        network: The four parts, on any device.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        requests: Images of any sizes; known regions and missing references may be mixed in.
        settings: Numbers of both stages.
        generator: Source of all noise; None keys it by (seed, draw number of the request), so that
            a request's noise does not depend on its batch.
        callback: Called after each sampler step of each batch.

    Returns:
        One result a request, in order.

    Raises:
        InputError: If a setting does not fit the network, or its output is not finite.
    """
    check_steps(scheduler, settings.sampler.num_inference_steps)
    results: list[RefinementResult] = []
    for start in range(0, len(requests), settings.batch_size):
        batch = requests[start : start + settings.batch_size]
        alignments = align_requests(network, scheduler, batch, settings, generator=generator)
        results += refine_aligned(
            network,
            scheduler,
            batch,
            alignments,
            settings,
            generator=generator,
            callback=callback,
        )
    return results


def align_requests(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    *,
    generator: torch.Generator | None = None,
) -> list[Alignment]:
    """Run the alignment stage for one batch of requests.

    A request with a known region, or without reference, is prepared but not aligned.

    Raises:
        InputError: If a setting does not fit the network, or its attention is not finite.
    """
    start = time.perf_counter()
    frames = [prepare_frames(network, request, settings) for request in requests]
    prepared = time.perf_counter()
    wanted = [
        index
        for index, item in enumerate(requests)
        if item.region is None and not item.no_reference
    ]
    maps: dict[int, np.ndarray] = {}
    if wanted:
        found = align(
            network,
            scheduler,
            image=images_to_tensor([frames[index][0].pixels for index in wanted]),
            artifact_mask=masks_to_tensor([frames[index][0].mask for index in wanted]),
            reference=images_to_tensor([frames[index][1].pixels for index in wanted]),
            noise=_noise([requests[index] for index in wanted], settings, generator),
            settings=settings.alignment,
        )
        maps = dict(zip(wanted, found.cpu().numpy(), strict=True))
    seconds = {
        "prepare": (prepared - start) / len(requests),
        "align": (time.perf_counter() - prepared) / max(len(wanted), 1),
    }
    side = round(network.num_tokens**0.5)
    return [
        locate_region(request, frame, maps.get(index), settings, seconds, side)
        for index, (request, frame) in enumerate(zip(requests, frames, strict=True))
    ]


def refine_aligned(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    alignments: Sequence[Alignment],
    settings: RefinementSettings,
    *,
    generator: torch.Generator | None = None,
    callback: StepCallback | None = None,
    interrupted: Interrupted | None = None,
) -> list[RefinementResult]:
    """Run the refinement stage for one batch of aligned requests.

    Raises:
        InputError: If the network's output is not finite.
    """
    start = time.perf_counter()
    _, dtype = network_placement(network)
    noise = _noise(requests, settings, generator)
    with evaluating(network):
        condition = make_condition(
            network,
            images_to_tensor([item.crop.pixels for item in alignments]),
            masks_to_tensor([item.crop.mask for item in alignments]),
            region_tokens(network, alignments, reencode=settings.reencode_region),
        )
        latents = sample(
            network,
            scheduler,
            condition,
            noise("refinement", latent_shape(network, condition)),
            settings.sampler,
            generator=generator or torch.Generator().manual_seed(settings.seed),
            callback=callback,
            interrupted=interrupted,
        )
        decoded = network.decode_latents(latents.to(dtype))
        _check_finite(latents, decoded)
    patches = tensor_to_images(decoded)
    spent = (time.perf_counter() - start) / len(requests)
    return [
        _finish(request, alignment, patch, settings, spent)
        for request, alignment, patch in zip(requests, alignments, patches, strict=True)
    ]


def _finish(
    request: RefinementRequest,
    alignment: Alignment,
    patch: np.ndarray,
    settings: RefinementSettings,
    spent: float,
) -> RefinementResult:
    start = time.perf_counter()
    image, weights = paste_back(
        request.case.image,
        request.case.artifact_mask,
        patch,
        alignment.crop.box,
        settings.feather_reach,
    )
    return RefinementResult(
        image=image,
        alignment=alignment,
        refined_crop=patch,
        feather=weights,
        seconds={**alignment.seconds, "refine": spent, "paste": time.perf_counter() - start},
    )


def _noise(
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    generator: torch.Generator | None,
) -> NoiseSource:
    if generator is not None:
        return GeneratorNoise(generator)
    return KeyedNoise(settings.seed, tuple(request.draw for request in requests))


def _check_finite(*tensors: Tensor) -> None:
    bad = sum(int((~torch.isfinite(tensor)).sum()) for tensor in tensors)
    if bad:
        raise InputError(
            f"{bad} values of the refined picture are not finite; try float32 or bfloat16 instead "
            "of float16, or weights that are not damaged"
        )
