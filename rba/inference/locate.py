"""Around the alignment stage: what it sees of a request, and the region that its map means."""

import numpy as np

from rba.attention.region import correspondence_mask
from rba.geometry import mask_to_queries
from rba.inference.frames import (
    Frame,
    cells_on_reference,
    masks_to_tensor,
    reference_frame,
    region_frame,
    zoom_in,
)
from rba.inference.request import Alignment, RefinementRequest, RefinementSettings
from rba.models.network import RefinementNetwork


def network_image_size(network: RefinementNetwork, settings: RefinementSettings) -> int:
    """Return the crop's side at the network in pixels."""
    if settings.image_size is not None:
        return settings.image_size
    cells: int = network.unet.config["sample_size"]  # pyright: ignore
    return cells * network.latent_factor


def prepare_frames(
    network: RefinementNetwork, request: RefinementRequest, settings: RefinementSettings
) -> tuple[Frame, Frame]:
    """Cut what the network sees of a request: the zoom-in crop, and the complete reference."""
    crop = zoom_in(
        request.case.image,
        request.case.artifact_mask,
        network_image_size(network, settings),
        factor=settings.crop_factor if settings.zoom_in else None,
        magnification=settings.max_magnification,
    )
    return crop, reference_frame(
        request.reference,
        request.reference_mask,
        network.reference_size,
        object_margin=settings.object_margin,
    )


def locate_region(
    request: RefinementRequest,
    frames: tuple[Frame, Frame],
    found: np.ndarray | None,
    settings: RefinementSettings,
    seconds: dict[str, float],
    side: int,
) -> Alignment:
    """Turn a map, a known region or nothing into the first stage's result."""
    crop, reference = frames
    region, cells, fallback, confidence = request.region, None, False, float("nan")
    if found is not None:
        object_cells = mask_to_queries(masks_to_tensor([reference.mask]), side)[0] > 0
        result = correspondence_mask(found, object_cells.numpy(), settings.region)
        cells, fallback, confidence = result.mask, result.fallback, result.confidence
        height, width = request.reference.shape[:2]
        region = cells_on_reference(cells, reference, height, width)
        if not region.any():  # a cell that only grazes the picture may hold no pixel's centre
            region, fallback = request.whole_region(), True
    matched = None
    if region is not None and not request.no_reference:
        matched = region_frame(request.reference, request.reference_mask, region, reference, side)
    return Alignment(
        crop=crop,
        reference=reference,
        correspondence_map=found,
        cells=cells,
        region=None if request.no_reference else region,
        matched=matched,
        fallback=fallback,
        confidence=confidence,
        seconds=seconds if found is not None else {**seconds, "align": 0.0},
    )
