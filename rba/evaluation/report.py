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
from rba.evaluation.comparison import figures, look_alike_figures
from rba.evaluation.conditions import (
    RIGHT,
    Progress,
    condition_requests,
    object_name,
    refine_conditions,
)
from rba.evaluation.scores import (
    Scores,
    alignment_scores,
    case_truth,
    fidelity_scores,
    finite,
    median,
)
from rba.evaluation.table import CaseScores
from rba.geometry import cells_to_pixels
from rba.inference.frames import Frame
from rba.inference.refine import align_requests
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.metrics.bootstrap import CONFIDENCE, NUM_RESAMPLES
from rba.metrics.preservation import max_change_outside
from rba.models.network import RefinementNetwork

Baseline = Callable[[Case, Frame, int], Prediction]
BASELINES: Mapping[str, Baseline] = {
    "uniform": uniform,
    "same_position": same_position,
    "cross_correlation": cross_correlation,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Figures, and what they were measured on.

    Attributes:
        metrics: JSON-serialisable; every mean comes with its interval.
        table: All cases one by one, those that were refined first.
        cases: Those that were refined.
        results: Their results with the right reference.
    """

    metrics: dict[str, Any]
    table: Sequence[CaseScores]
    cases: Sequence[Case]
    results: Sequence[RefinementResult]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Refined:
    """What refining the cases gave: figures by condition, the right results, the largest change."""

    scores: Sequence[dict[str, Scores]]
    results: Sequence[RefinementResult]
    max_change: int


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

    Case k draws noise number k under every condition (`rba.evaluation.conditions`), so all start
    from equal noise.

    Args:
        network: The four parts.
        scheduler: Any diffusers scheduler.
        cases: With ``correspondence_mask`` for alignment, with ``truth`` for refinement.
        settings: Both stages; ``seed`` keys the intervals' resamples too.
        num_refined: How many are refined; None = all.
        progress: Called after each batch.

    Raises:
        InputError: If no case has a known match, or one that is refined has no truth, or no other
            object is there to be a wrong reference.
    """
    start = time.perf_counter()
    requests = [RefinementRequest(case=case, draw=index) for index, case in enumerate(cases)]
    conditions = condition_requests(requests[:num_refined])
    if all(case.correspondence_mask is None for case in cases):
        raise InputError("no case has a known match; give cases with a correspondence mask")
    alignments = _align(network, scheduler, requests, settings, progress)
    refined = _refine(network, scheduler, conditions, alignments, settings, progress)
    table = _table(cases, alignments, refined.scores, round(network.num_tokens**0.5))
    if not any(case.alignment for case in table):
        raise InputError("no true region covers half a pixel of its reference; give larger ones")
    seconds = {
        "align_per_case": _mean([item.seconds["align"] for item in alignments]),
        "refine_per_case": _mean([item.seconds["refine"] for item in refined.results]),
        "total": time.perf_counter() - start,
    }
    return Report(
        metrics={
            **figures(table, settings.seed),
            "subsets": look_alike_figures(table, settings.seed),
            "truth": _truth_facts(table),
            **_preservation(cases[: len(refined.results)], refined),
            "intervals": {"confidence": CONFIDENCE, "num_resamples": NUM_RESAMPLES},
            "seconds": seconds,
        },
        table=table,
        cases=cases[: len(refined.results)],
        results=refined.results,
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


def _refine(
    network: RefinementNetwork,
    scheduler: Any,
    conditions: Mapping[str, Sequence[RefinementRequest | None]],
    alignments: Sequence[Alignment],
    settings: RefinementSettings,
    progress: Progress | None,
) -> _Refined:
    """Refine under all conditions and score at once; only the right results are kept."""
    cases = [request.case for request in conditions[RIGHT] if request is not None]
    scores = [{"defect": fidelity_scores(case.image, case)} for case in cases]
    results: list[RefinementResult] = []
    largest = 0
    for name, index, result in refine_conditions(
        network, scheduler, conditions, alignments, settings, progress
    ):
        case = cases[index]
        scores[index][name] = fidelity_scores(result.image, case)
        feathered = result.feather_mask() > 0
        largest = max(largest, max_change_outside(case.image, result.image, feathered))
        if name == RIGHT:
            results.append(result)
    return _Refined(scores=scores, results=results, max_change=largest)


def _table(
    cases: Sequence[Case],
    alignments: Sequence[Alignment],
    refinement: Sequence[dict[str, Scores]],
    cells: int,
) -> list[CaseScores]:
    """Score every case; the refined ones are the first."""
    table: list[CaseScores] = []
    for index, (case, alignment) in enumerate(zip(cases, alignments, strict=True)):
        frame, scores = alignment.reference, dict[str, Scores]()
        truth = case_truth(case, frame)
        if truth is not None:
            scores["model"] = alignment_scores(model_prediction(alignment), truth)
            for name, baseline in BASELINES.items():
                scores[name] = alignment_scores(baseline(case, frame, cells), truth)
        look_alikes = case.metadata.get("look_alikes")
        row = CaseScores(
            id=case.id,
            object_name=object_name(case),
            look_alikes=look_alikes if isinstance(look_alikes, bool) else None,
            artifact_share=float(case.artifact_mask.mean()),
            truth_share_of_reference=None if truth is None else float(truth.region.mean()),
            truth_share_of_object=None
            if truth is None
            else float(truth.region.sum() / max(truth.object_mask.sum(), 1)),
            alignment=scores,
            refinement=refinement[index] if index < len(refinement) else {},
        )
        table.append(row)
    return table


def _truth_facts(table: Sequence[CaseScores]) -> dict[str, float | int | None]:
    shares = [case.truth_share_of_reference for case in table]
    of_object = [case.truth_share_of_object for case in table]
    return {
        "num_unknown": sum(share is None for share in shares),
        "median_share_of_reference": median(share for share in shares if share is not None),
        "median_share_of_object": median(share for share in of_object if share is not None),
    }


def _preservation(cases: Sequence[Case], refined: _Refined) -> dict[str, float | int | None]:
    return {
        "max_change_outside_mask": refined.max_change,
        "median_artifact_area_share": median(float(case.artifact_mask.mean()) for case in cases),
        "median_feathered_area_share": median(
            float((result.feather_mask() > 0).mean()) for result in refined.results
        ),
    }


def _mean(values: Sequence[float]) -> float | None:
    return finite(np.mean(values)) if values else None
