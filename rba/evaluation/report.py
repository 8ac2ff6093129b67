"""The report on a model: alignment beside baselines, refinement beside what could explain it."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.baselines.cross_correlation import cross_correlation
from rba.evaluation.baselines.prediction import Prediction
from rba.evaluation.baselines.same_position import same_position
from rba.evaluation.baselines.uniform import uniform
from rba.evaluation.scores import (
    Scores,
    alignment_scores,
    case_truth,
    fidelity_scores,
    finite,
    mean_scores,
    median,
)
from rba.geometry import cells_to_pixels
from rba.inference.refine import align_requests, refine_aligned, refine_many
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.metrics.preservation import max_change_outside
from rba.models.network import RefinementNetwork

Baseline = Callable[[Case, int, int], Prediction]
BASELINES: Mapping[str, Baseline] = {
    "uniform": uniform,
    "same_position": same_position,
    "cross_correlation": cross_correlation,
}
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, cases done, cases in all)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Figures, and what they were measured on.

    Attributes:
        metrics: JSON-serialisable.
        cases: Those that were refined.
        results: Their results with the right reference.
    """

    metrics: dict[str, Any]
    cases: Sequence[Case]
    results: Sequence[RefinementResult]


def evaluate(
    network: RefinementNetwork,
    scheduler: Any,
    cases: Sequence[Case],
    settings: RefinementSettings,
    *,
    num_refined: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Align all cases, refine the first of them, and score both stages (method: Figures).

    Case k draws noise number k under every condition, so right, wrong and no reference start from
    equal noise.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler.
        cases: With ``correspondence_mask`` for alignment, with ``truth`` for refinement.
        settings: Both stages.
        num_refined: How many are refined; None = all.
        progress: Called after each batch.

    Raises:
        InputError: If no case has a known match, or one that is refined has no truth.
    """
    start = time.perf_counter()
    requests = [RefinementRequest(case=case, draw=index) for index, case in enumerate(cases)]
    refined = requests[:num_refined]
    untold = [request.case.id for request in refined if request.case.truth is None]
    if untold:
        raise InputError(f"{len(untold)} cases have no truth to compare with, first {untold[0]}")
    alignments = _align(network, scheduler, requests, settings, progress)
    alignment, facts = _score_alignment(network, cases, alignments)
    conditions = _refine(network, scheduler, refined, alignments, settings, progress)
    results = conditions["right_reference"]
    seconds = {
        "align_per_case": _mean([item.seconds["align"] for item in alignments]),
        "refine_per_case": _mean([item.seconds["refine"] for item in results]),
        "total": time.perf_counter() - start,
    }
    return Report(
        metrics={
            "num_pairs": facts.pop("num_pairs"),
            "num_refined": len(refined),
            "alignment": alignment,
            "truth": facts,
            "refinement": _score_refinement(refined, conditions),
            **_preservation(refined, conditions),
            "seconds": seconds,
        },
        cases=[request.case for request in refined],
        results=results,
    )


def model_prediction(alignment: Alignment) -> Prediction:
    """Return the first stage's result as a prediction on the R x R reference."""
    assert alignment.correspondence_map is not None
    assert alignment.cells is not None
    side = alignment.reference.side
    return Prediction(
        correspondence_map=alignment.correspondence_map,
        mask=cells_to_pixels(alignment.cells, side, side),
        fallback=alignment.fallback,
    )


def _align(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    progress: Progress | None,
) -> list[Alignment]:
    alignments: list[Alignment] = []
    for start in range(0, len(requests), settings.batch_size):
        batch = requests[start : start + settings.batch_size]
        alignments += align_requests(network, scheduler, batch, settings)
        if progress is not None:
            progress("align", len(alignments), len(requests))
    return alignments


def _score_alignment(
    network: RefinementNetwork, cases: Sequence[Case], alignments: Sequence[Alignment]
) -> tuple[dict[str, dict[str, float | None]], dict[str, Any]]:
    size, cells = network.reference_size, round(network.num_tokens**0.5)
    known = [
        (case, alignment, truth)
        for case, alignment in zip(cases, alignments, strict=True)
        if (truth := case_truth(case, size)) is not None
    ]
    if not known:
        raise InputError("no case has a known match; give cases with a correspondence mask")
    scores: dict[str, list[Scores]] = {
        "model": [alignment_scores(model_prediction(item), truth) for _, item, truth in known]
    }
    for name, baseline in BASELINES.items():
        scores[name] = [
            alignment_scores(baseline(case, size, cells), truth) for case, _, truth in known
        ]
    facts = {
        "num_pairs": len(known),
        "num_unknown": len(cases) - len(known),
        "median_share_of_reference": median(float(t.region.mean()) for _, _, t in known),
        "median_share_of_object": median(
            float(t.region.sum() / max(t.object_mask.sum(), 1)) for _, _, t in known
        ),
    }
    return {name: mean_scores(values) for name, values in scores.items()}, facts


def _refine(
    network: RefinementNetwork,
    scheduler: Any,
    requests: Sequence[RefinementRequest],
    alignments: Sequence[Alignment],
    settings: RefinementSettings,
    progress: Progress | None,
) -> dict[str, list[RefinementResult]]:
    """Refine under the three conditions; the right reference keeps the region found before."""
    wrong = [
        dataclasses.replace(request, case=_with_other_reference(requests, index))
        for index, request in enumerate(requests)
    ]
    nothing = [dataclasses.replace(request, no_reference=True) for request in requests]
    results: dict[str, list[RefinementResult]] = {}
    for name, wanted in (
        ("right_reference", requests),
        ("wrong_reference", wrong),
        ("no_reference", nothing),
    ):
        done: list[RefinementResult] = []
        for start in range(0, len(wanted), settings.batch_size):
            batch = wanted[start : start + settings.batch_size]
            if name == "right_reference":
                found = alignments[start : start + len(batch)]
                done += refine_aligned(network, scheduler, batch, found, settings)
            else:
                done += refine_many(network, scheduler, batch, settings)
            if progress is not None:
                progress(f"refine, {name.replace('_', ' ')}", len(done), len(wanted))
        results[name] = done
    return results


def _with_other_reference(requests: Sequence[RefinementRequest], index: int) -> Case:
    """Return a case with the picture of the next case that shows another object."""
    case = requests[index].case
    for offset in range(1, len(requests)):
        other = requests[(index + offset) % len(requests)].case
        if other.metadata.get("object", other.id) != case.metadata.get("object", case.id):
            return dataclasses.replace(
                case,
                references=other.references,
                reference_masks=other.reference_masks,
                correspondence_mask=None,
            )
    raise InputError(
        f"no other object than that of case {case.id} is there to be a wrong reference"
    )


def _score_refinement(
    requests: Sequence[RefinementRequest], conditions: Mapping[str, Sequence[RefinementResult]]
) -> dict[str, dict[str, float | None]]:
    cases = [request.case for request in requests]
    scores = {"defect": [fidelity_scores(case.image, case) for case in cases]}
    for name, results in conditions.items():
        scores[name] = [
            fidelity_scores(result.image, case) for case, result in zip(cases, results, strict=True)
        ]
    return {name: mean_scores(values) for name, values in scores.items()}


def _preservation(
    requests: Sequence[RefinementRequest], conditions: Mapping[str, Sequence[RefinementResult]]
) -> dict[str, float | int | None]:
    changes: list[int] = []
    for results in conditions.values():
        for request, result in zip(requests, results, strict=True):
            feathered = result.feather_mask() > 0
            changes.append(max_change_outside(request.case.image, result.image, feathered))
    shares = [float((result.feather_mask() > 0).mean()) for result in conditions["right_reference"]]
    return {
        "max_change_outside_mask": max(changes, default=0),
        "median_artifact_area_share": median(
            float(request.case.artifact_mask.mean()) for request in requests
        ),
        "median_feathered_area_share": median(shares),
    }


def _mean(values: Sequence[float]) -> float | None:
    return finite(np.mean(values)) if values else None
