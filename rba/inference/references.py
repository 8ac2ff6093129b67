"""Several references of one object: which of them shows what a defect needs."""

import dataclasses
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from rba.inference.frames import Frame, images_to_tensor, masks_to_tensor
from rba.inference.request import Alignment
from rba.inference.sampler import evaluating, network_placement
from rba.models.network import RefinementNetwork

_REACH = 2  # tokens around the hole that count as its surroundings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceChoice:
    """The reference that guides a defect, and why.

    Attributes:
        index: Number of the reference among the case's, from 0.
        scores: `surroundings_scores` of all of them; empty where there was nothing to choose: one
            reference alone, or one that the caller named.
        alignments: The alignment on each of them, or on the one.
    """

    index: int
    scores: tuple[float, ...]
    alignments: tuple[Alignment, ...]

    @property
    def alignment(self) -> Alignment:
        """The alignment on the chosen reference."""
        return self.alignments[self.index if self.scores else 0]

    def with_crop(self, crop: Frame) -> "ReferenceChoice":
        """Return the same choice for a crop of the image as it is now."""
        changed = [dataclasses.replace(item, crop=crop) for item in self.alignments]
        return dataclasses.replace(self, alignments=tuple(changed))

    @property
    def reason(self) -> str:
        """One sentence for people."""
        if not self.scores:
            return "no other reference was to be looked at"
        others = [score for number, score in enumerate(self.scores) if number != self.index]
        return (
            f"what surrounds the defect is found on it best: {self.scores[self.index]:.3f}, on the "
            f"others at most {max(others):.3f}"
        )


def choose_reference(
    network: RefinementNetwork, alignments: Sequence[Alignment]
) -> ReferenceChoice:
    """Choose among the alignments of one defect, one a reference; the first wins a tie."""
    scores = surroundings_scores(network, alignments)
    return ReferenceChoice(
        index=max(range(len(scores)), key=lambda number: scores[number]),
        scores=tuple(scores),
        alignments=tuple(alignments),
    )


def surroundings_scores(network: RefinementNetwork, alignments: Sequence[Alignment]) -> list[float]:
    """Measure how well each reference shows what surrounds a defect.

    The crop, its hole blanked, and the references are embedded alike (Algorithm 1, line 1). Each
    token around the hole looks for its most similar token on the reference's object; the score is
    the mean of those cosines. A side of the object that a reference does not show is not found on
    it. The maps themselves do not tell: softmax spreads the same attention over any reference.

    Args:
        network: The four parts.
        alignments: Of one defect on each reference.

    Returns:
        A cosine in [-1, 1] for each. Where the hole leaves nothing around it, the confidence (0
        after a fallback).
    """
    frame = alignments[0].crop
    side = round(network.num_tokens**0.5)
    hole = masks_to_tensor([frame.mask])
    around = _surroundings(hole, side)
    if not bool(around.any()):
        return [0.0 if item.fallback else item.confidence for item in alignments]
    size = network.reference_size
    blanked = images_to_tensor([frame.pixels]) * ~hole
    shown = functional.interpolate(blanked, (size, size), mode="bilinear", antialias=True)
    with evaluating(network):
        needed = _embed(network, shown)[0][around]
        tokens = [_embed(network, images_to_tensor([x.reference.pixels]))[0] for x in alignments]
    objects = _touched(masks_to_tensor([item.reference.mask for item in alignments]), side)
    return [
        float((needed @ found[on_object].T).amax(dim=1).mean())
        for found, on_object in zip(tokens, objects, strict=True)
    ]


def _embed(network: RefinementNetwork, pictures: Tensor) -> Tensor:
    """Return [B, N, width] float32 tokens of length 1, on the CPU."""
    device, dtype = network_placement(network)
    tokens = network.embed_references(pictures.to(device, dtype))
    return functional.normalize(tokens.float().cpu(), dim=-1)


def _touched(masks: Tensor, side: int) -> Tensor:
    """[B, 1, H, W] bool => [B, N] bool, the tokens that a mask touches."""
    return functional.adaptive_max_pool2d(masks.float(), (side, side)).flatten(1) > 0


def _surroundings(hole: Tensor, side: int) -> Tensor:
    """Return [N] bool: tokens next to the hole that it does not touch."""
    touched = _touched(hole, side)[0]
    grid = touched.float().reshape(1, 1, side, side)
    grown = functional.max_pool2d(grid, 2 * _REACH + 1, stride=1, padding=_REACH)
    return (grown.flatten() > 0) & ~touched
