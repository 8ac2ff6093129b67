"""Whole images: every defect of a mask in turn, each after the reference that shows it best."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rba.geometry import crop, resize_mask
from rba.inference.defects import separate_defects
from rba.inference.locate import prepare_frames
from rba.inference.references import ReferenceChoice, choose_reference
from rba.inference.refine import align_requests, refine_aligned
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.inference.sampler import Interrupted, StepCallback, check_steps
from rba.models.network import RefinementNetwork

STAGES: tuple[str, ...] = ("prepare", "align", "refine", "paste")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefectMatch:
    """One defect of an image, and the reference that is to guide it.

    Attributes:
        mask: HxW bool, this defect alone.
        choice: The reference that is used, the scores and alignments of all.
    """

    mask: np.ndarray
    choice: ReferenceChoice


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefectResult(DefectMatch):
    """One defect of an image that was mended.

    Attributes:
        result: Both stages; its image has this defect and all before it mended.
    """

    result: RefinementResult

    @property
    def mask_grown(self) -> bool:
        """At the network the mask marks over 1.5 times the area painted: it is thin or tiny."""
        box, seen = self.result.crop_box, self.choice.alignment.crop.mask
        marked = float(seen.mean()) * box.width * box.height
        return bool(marked > 1.5 * self.mask.sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageResult:
    """A refined image.

    Attributes:
        image: HxWx3 uint8 in the input's size; equal to the input outside `feather_mask`.
        defects: What was mended, in order; fewer than the mask has, or none, after an interruption.
    """

    image: np.ndarray
    defects: tuple[DefectResult, ...]

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, over all defects and all references that were looked at."""
        total: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        for defect in self.defects:
            for alignment in defect.choice.alignments:
                for stage, spent in alignment.seconds.items():
                    total[stage] += spent
            for stage in ("refine", "paste"):
                total[stage] += defect.result.seconds[stage]
        return total

    def feather_mask(self) -> np.ndarray:
        """Return the largest paste-back weight of any defect, HxW float32; 0 = bit-equal."""
        if not self.defects:
            return np.zeros(self.image.shape[:2], np.float32)
        return functools.reduce(
            np.maximum, (defect.result.feather_mask() for defect in self.defects)
        )


def find_matches(
    network: RefinementNetwork,
    scheduler: Any,
    request: RefinementRequest,
    settings: RefinementSettings,
    *,
    generator: torch.Generator | None = None,
) -> list[DefectMatch]:
    """Tell an image's defects apart and align each on the references, without mending anything.

    `refine_images` takes what this finds, so that a person can look at it and correct it between.

    Raises:
        InputError: If a setting does not fit the network, or its attention is not finite.
    """
    masks = _defects(request, settings)
    alone = [_Progress(_with_mask(request, mask), [mask]) for mask in masks]
    choices = _align(network, scheduler, alone, settings, generator)
    return [
        DefectMatch(mask=mask, choice=choice) for mask, choice in zip(masks, choices, strict=True)
    ]


def refine_images(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    *,
    matches: Sequence[Sequence[DefectMatch] | None] | None = None,
    generator: torch.Generator | None = None,
    callback: StepCallback | None = None,
    interrupted: Interrupted | None = None,
) -> list[ImageResult]:
    """Mend every defect of every image, ``settings.batch_size`` images at a time.

    A mask's defects (`separate_defects`) are mended one after another, the largest first, each
    after the best of the case's references; it sees those before it mended, those after it blanked.
    A request that names a region, or wants no reference, is one defect after its own reference.
    A case of one reference and one defect comes out as of `refine_many`.

    Args:
        network: The four parts, on any device.
        scheduler: Any diffusers scheduler; it is copied, not changed.
        requests: Images of any sizes. Every defect of a request starts from equal noise.
        settings: Numbers of both stages, and how defects and references are told apart.
        matches: For each request what is known of it, as of `find_matches`; None looks for it.
        generator: Source of all noise; None keys it by (seed, draw number of the request).
        callback: Called after each sampler step of each batch of defects.
        interrupted: Asked after each sampler step. What is being mended then is pasted back as far
            as it is; nothing else is begun.

    Returns:
        One result a request, in order.

    Raises:
        InputError: If a setting does not fit the network, or its output is not finite.
    """
    check_steps(scheduler, settings.sampler.num_inference_steps)
    known = [None] * len(requests) if matches is None else matches
    items = [_begin(*pair, settings) for pair in zip(requests, known, strict=True)]
    for start in range(0, len(items), settings.batch_size):
        batch = items[start : start + settings.batch_size]
        for number in range(max(len(item.masks) for item in batch)):
            if interrupted is not None and interrupted():
                break
            waiting = [item for item in batch if number < len(item.masks)]
            choices = _align(network, scheduler, waiting, settings, generator)
            refined = refine_aligned(
                network,
                scheduler,
                [item.current(used.index) for item, used in zip(waiting, choices, strict=True)],
                [item.seen(choice) for item, choice in zip(waiting, choices, strict=True)],
                settings,
                generator=generator,
                callback=callback,
                interrupted=interrupted,
            )
            for item, choice, result in zip(waiting, choices, refined, strict=True):
                item.add(choice, result)
    return [ImageResult(image=item.image, defects=tuple(item.done)) for item in items]


def count_batches(requests: Sequence[RefinementRequest], settings: RefinementSettings) -> int:
    """Return how often `refine_images` samples: a batch of images counts its most defects."""
    counts = [len(_defects(request, settings)) for request in requests]
    size = settings.batch_size
    return sum(max(counts[start : start + size]) for start in range(0, len(counts), size))


class _Progress:
    """How far one image is: ``masks`` are its defects, ``done`` those that are mended.

    ``known`` holds what was chosen for each of them before, if it was.
    """

    def __init__(
        self,
        request: RefinementRequest,
        masks: Sequence[np.ndarray],
        known: Sequence[ReferenceChoice] = (),
    ) -> None:
        self.request = request
        self.masks = masks
        self.known = known
        self.done: list[DefectResult] = []

    @property
    def image(self) -> np.ndarray:
        """The image as it is now."""
        return self.done[-1].result.image if self.done else self.request.case.image

    def add(self, choice: ReferenceChoice, result: RefinementResult) -> None:
        """Note that the next defect is mended."""
        mask = self.masks[len(self.done)]
        self.done.append(DefectResult(mask=mask, choice=choice, result=result))

    def current(self, reference: int) -> RefinementRequest:
        """Return the request of the next defect on the image as it is now."""
        case = dataclasses.replace(self.request.case, image=self.image)
        request = dataclasses.replace(self.request, case=case, reference_index=reference)
        return _with_mask(request, self.masks[len(self.done)])

    def references(self, *, choose: bool) -> Sequence[int]:
        """Return the references to look at; none where it is known which is used."""
        if self.known:
            return ()
        pinned = self.request.region is not None or self.request.no_reference
        if pinned or not choose:
            return [self.request.reference_index]
        return range(len(self.request.case.references))

    def seen(self, choice: ReferenceChoice) -> Alignment:
        """Return the chosen alignment; what the network is to repaint has the later defects too."""
        alignment = choice.alignment
        left = self.masks[len(self.done) :]
        if len(left) == 1:
            return alignment
        frame = alignment.crop
        hole = resize_mask(crop(np.any(left, axis=0), frame.box, fill=0), frame.side, frame.side)
        return dataclasses.replace(alignment, crop=dataclasses.replace(frame, mask=hole))


def _begin(
    request: RefinementRequest, known: Sequence[DefectMatch] | None, settings: RefinementSettings
) -> _Progress:
    if known is None:
        return _Progress(request, _defects(request, settings))
    masks, choices = [match.mask for match in known], [match.choice for match in known]
    return _Progress(request, masks, choices)


def _with_mask(request: RefinementRequest, mask: np.ndarray) -> RefinementRequest:
    case = dataclasses.replace(request.case, artifact_mask=mask)
    return dataclasses.replace(request, case=case)


def _defects(request: RefinementRequest, settings: RefinementSettings) -> list[np.ndarray]:
    mask = request.case.artifact_mask
    if request.region is not None:
        return [mask]
    return separate_defects(mask, settings.defect_distance, at_most=settings.max_defects)


def _align(
    network: RefinementNetwork,
    scheduler: Any,
    waiting: Sequence[_Progress],
    settings: RefinementSettings,
    generator: torch.Generator | None,
) -> list[ReferenceChoice]:
    """Align the next defect of each image on every reference that is looked at, and choose."""
    looked_at = [item.references(choose=settings.choose_reference) for item in waiting]
    requests = [
        item.current(index)
        for item, indices in zip(waiting, looked_at, strict=True)
        for index in indices
    ]
    found: list[Alignment] = []
    for start in range(0, len(requests), settings.batch_size):
        batch = requests[start : start + settings.batch_size]
        found += align_requests(network, scheduler, batch, settings, generator=generator)
    choices: list[ReferenceChoice] = []
    for item, indices in zip(waiting, looked_at, strict=True):
        own, found = found[: len(indices)], found[len(indices) :]
        if item.known:
            choice = item.known[len(item.done)]
            frame, _ = prepare_frames(network, item.current(choice.index), settings)
            choices.append(choice.with_crop(frame))
        elif len(indices) == 1:
            choices.append(ReferenceChoice(index=indices[0], scores=(), alignments=tuple(own)))
        else:
            choices.append(choose_reference(network, own))
    return choices
