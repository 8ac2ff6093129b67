"""What guides the refinement stage: the tokens of the matched region (method: Refinement)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rba.geometry import crop, mask_to_queries, resize_mask
from rba.inference.frames import images_to_tensor, masks_to_tensor
from rba.inference.request import Alignment
from rba.inference.sampler import network_placement
from rba.models.network import RefinementNetwork


def region_tokens(
    network: RefinementNetwork, alignments: Sequence[Alignment], *, reencode: bool
) -> Tensor:
    """Embed the matched region of each alignment; null tokens where there is no reference.

    Args:
        network: The four parts, in evaluation mode.
        alignments: B of them.
        reencode: Encode the region's cut-out, so that all tokens show it. False takes the tokens
            of the complete reference and keeps those that the region touches, each at its place;
            the other places get null tokens.

    Returns:
        [B, N, width].
    """
    device, dtype = network_placement(network)
    drop = torch.tensor([item.matched is None for item in alignments], device=device)
    frames = [(item.matched if reencode else None) or item.reference for item in alignments]
    pictures = images_to_tensor([frame.pixels for frame in frames]).to(device, dtype)
    tokens = network.embed_references(pictures, drop)
    if reencode:
        return tokens
    masks = masks_to_tensor([_region_in_frame(item) for item in alignments])
    touched = mask_to_queries(masks, round(network.num_tokens**0.5)).flatten(1) > 0
    null_tokens = network.null_tokens(len(tokens)).to(tokens.device)
    return torch.where(touched.to(tokens.device)[..., None], tokens, null_tokens)


def _region_in_frame(alignment: Alignment) -> np.ndarray:
    frame = alignment.reference
    if alignment.region is None:
        return frame.mask
    return resize_mask(crop(alignment.region, frame.box, fill=0), frame.side, frame.side)
