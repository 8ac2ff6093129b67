"""Refinement under every condition that could explain a good result.

``right_reference`` is the method: the region that alignment found. ``true_region`` knows the exact
region, ``whole_reference`` takes the whole object (the whole picture without an object mask),
``wrong_reference`` finds its region on another object's picture, ``no_reference`` sees the null
token. Image, crop and starting noise of a case are the same under all of them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rba.case import Case
from rba.errors import InputError
from rba.inference.refine import refine_aligned, refine_many
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.metrics.region import truth_mask
from rba.models.network import RefinementNetwork

RIGHT = "right_reference"
CONDITIONS = (
    "defect",  # before refinement
    RIGHT,
    "true_region",
    "whole_reference",
    "wrong_reference",
    "no_reference",
)
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, cases done, cases in all)."""


def condition_requests(
    requests: Sequence[RefinementRequest],
) -> dict[str, list[RefinementRequest | None]]:
    """Return what is asked under each condition; None where a case's true region is not known.

    Args:
        requests: With the case's own reference. Draw numbers are kept, so noise is equal.

    Raises:
        InputError: If a case has no truth to compare with, or there is no second object.
    """
    untold = [request.case.id for request in requests if request.case.truth is None]
    if untold:
        raise InputError(f"{len(untold)} cases have no truth to compare with, first {untold[0]}")
    wrong = [_with_other_reference(requests, index) for index in range(len(requests))]
    whole = [dataclasses.replace(item, region=item.whole_region()) for item in requests]
    nothing = [dataclasses.replace(item, no_reference=True) for item in requests]
    return {
        RIGHT: list(requests),
        "true_region": [_with_true_region(request) for request in requests],
        "whole_reference": list(whole),
        "wrong_reference": list(wrong),
        "no_reference": list(nothing),
    }


def refine_conditions(
    network: RefinementNetwork,
    scheduler: Any,
    conditions: Mapping[str, Sequence[RefinementRequest | None]],
    alignments: Sequence[Alignment],
    settings: RefinementSettings,
    progress: Progress | None = None,
) -> Iterator[tuple[str, int, RefinementResult]]:
    """Refine under all conditions, one after another.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler.
        conditions: As `condition_requests` makes them.
        alignments: One a case; the right reference keeps the region found before.
        settings: Both stages.
        progress: Called after each batch.

    Yields:
        (condition, the case's place, its result), so that no more than a batch need be held.
    """
    for name, wanted in conditions.items():
        known = [(index, request) for index, request in enumerate(wanted) if request is not None]
        for start in range(0, len(known), settings.batch_size):
            batch = known[start : start + settings.batch_size]
            requests = [request for _, request in batch]
            if name == RIGHT:
                found = [alignments[index] for index, _ in batch]
                results = refine_aligned(network, scheduler, requests, found, settings)
            else:
                results = refine_many(network, scheduler, requests, settings)
            for (index, _), result in zip(batch, results, strict=True):
                yield name, index, result
            if progress is not None:
                progress(f"refine, {name.replace('_', ' ')}", start + len(batch), len(known))


def _with_true_region(request: RefinementRequest) -> RefinementRequest | None:
    truth = request.case.correspondence_mask
    if truth is None or not truth_mask(truth).any():
        return None
    return dataclasses.replace(request, region=truth_mask(truth))


def _with_other_reference(requests: Sequence[RefinementRequest], index: int) -> RefinementRequest:
    """Return a request with the reference of the next case that shows another object."""
    request = requests[index]
    for offset in range(1, len(requests)):
        other = requests[(index + offset) % len(requests)].case
        if object_name(other) != object_name(request.case):
            case = dataclasses.replace(
                request.case,
                references=other.references,
                reference_masks=other.reference_masks,
                correspondence_mask=None,
            )
            return dataclasses.replace(request, case=case)
    raise InputError(
        f"no other object than that of case {request.case.id} is there to be a wrong reference"
    )


def object_name(case: Case) -> str:
    """Return the name of the object that a case shows; its id where no name is known."""
    return str(case.metadata.get("object", case.id))
