"""Our rows: the network under every condition that could explain a good result."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rba.case import Case
from rba.evaluation.case_set import CaseSet
from rba.evaluation.methods import FALLBACK, MethodResult, untouched
from rba.evaluation.models import LazyModel
from rba.evaluation.network_rows import NetworkRow
from rba.inference.align import AlignmentSettings
from rba.inference.images import DefectResult, ImageResult
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.references import choose_reference
from rba.inference.refine import align_requests
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.metrics.region import truth_mask

NO_TRUE_REGION = "the true region is not known"
NO_OTHER_OBJECT = "no case shows another object"
NO_REGION = "no region stood out in the map, so the whole object guided the refinement"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkNumbers:
    """What the network's rows have in common.

    Attributes:
        settings: All but where the map is read, which the model says, and the image size.
        cell: (sampler step index, layer) where a calibration chose one; None = the model's own.
    """

    settings: RefinementSettings
    cell: tuple[int, int] | None = None

    def resolved(self, model: LazyModel) -> RefinementSettings:
        """Return the settings with the model's sizes and the chosen cell; no weight is loaded."""
        index = model.index
        step, layer = self.cell or (index["sampler_step_index"], index["layer"])
        return dataclasses.replace(
            self.settings,
            image_size=index["image_size"],
            defect_distance=None,
            alignment=AlignmentSettings(
                sampler_step_index=step,
                layer=layer,
                num_inference_steps=index["num_inference_steps"],
            ),
        )


class NetworkMethod:
    """One of `network_rows.ROWS` with one model.

    Every row gets a case's image, crop and starting noise alike; only what the row is about
    differs. Of several references the one is taken that shows the defect's surroundings best.

    Args:
        row: What guides the network.
        model: Opened at the first batch.
        numbers: Settings; they may change until the first batch is run (calibration).
        cases: Where a wrong reference comes from.
    """

    def __init__(
        self, row: NetworkRow, model: LazyModel, numbers: NetworkNumbers, cases: CaseSet
    ) -> None:
        self.name = row.name
        self.description = row.description
        self._row = row
        self._model = model
        self._cases = cases
        self._settings = row.change(numbers.resolved(model))

    def settings(self) -> Mapping[str, object]:
        """Return the model's digest, what guides it, and all numbers but the batch size."""
        numbers = dataclasses.asdict(self._settings)
        del numbers["batch_size"]  # changes results by rounding alone
        return {"model": self._model.digest, "guide": self._row.guide, **numbers}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Refine one batch; see `rba.evaluation.methods.Method`."""
        pipeline = self._model.open()
        settings = dataclasses.replace(self._settings, batch_size=max(len(cases), 1))
        asked = [
            self._request(pipeline, settings, case, number)
            for case, number in zip(cases, numbers, strict=True)
        ]
        requests = [request for request in asked if isinstance(request, RefinementRequest)]
        refined = iter(pipeline.refine_images(requests, settings))
        for case, request in zip(cases, asked, strict=True):
            if isinstance(request, str):
                yield untouched(case, request)
            else:
                yield self._result(case, request, next(refined))

    def _request(
        self, pipeline: RefineByAlignPipeline, settings: RefinementSettings, case: Case, number: int
    ) -> RefinementRequest | str:
        """Return what is asked of the network, or why nothing can be."""
        request = RefinementRequest(case=case, draw=number)
        match self._row.guide:
            case "found":
                return request
            case "nothing":
                return dataclasses.replace(request, no_reference=True)
            case "whole":
                return _whole(pipeline, settings, request)
            case "true":
                truth = case.correspondence_mask
                if truth is None or not truth_mask(truth).any():
                    return NO_TRUE_REGION
                return dataclasses.replace(request, region=truth_mask(truth))
            case "wrong":
                return self._wrong(request, number)

    def _wrong(self, request: RefinementRequest, number: int) -> RefinementRequest | str:
        facts = self._cases.other_object(number)
        if facts is None:
            return NO_OTHER_OBJECT
        other = self._cases.read(facts)
        case = dataclasses.replace(
            request.case,
            references=other.references,
            reference_masks=other.reference_masks,
            correspondence_mask=None,
        )
        return dataclasses.replace(request, case=case)

    def _result(self, case: Case, request: RefinementRequest, image: ImageResult) -> MethodResult:
        first = image.defects[0]
        own = self._row.guide in ("found", "true", "whole")  # the region lies on this reference
        notes: dict[str, object] = {"defects": len(image.defects)}
        if any(defect.choice.alignment.fallback for defect in image.defects):
            notes[FALLBACK] = NO_REGION
        confidence = first.choice.alignment.confidence
        if math.isfinite(confidence):
            notes["confidence"] = confidence
        if self._row.guide == "wrong":
            other = self._cases.other_object(request.draw)
            notes["reference_of"] = None if other is None else other.id
        faded = (image.feather_mask() > 0) & ~case.artifact_mask
        return MethodResult(
            image=image.image,
            region=_region(image.defects) if own else None,
            correspondence=first.choice.alignment.correspondence_map
            if own and len(image.defects) == 1
            else None,
            reference_index=first.choice.index if own else 0,
            faded=faded if faded.any() else None,
            notes=notes,
        )


def _region(defects: Sequence[DefectResult]) -> np.ndarray | None:
    """Return where all defects that share the first one's reference took their content from."""
    index = defects[0].choice.index
    regions = [x.choice.alignment.region for x in defects if x.choice.index == index]
    known = [region for region in regions if region is not None]
    return np.any(known, axis=0) if known else None


def _whole(
    pipeline: RefineByAlignPipeline, settings: RefinementSettings, request: RefinementRequest
) -> RefinementRequest:
    """Ask for the whole object of the reference that `OURS` takes."""
    several = [
        dataclasses.replace(request, reference_index=index)
        for index in range(len(request.case.references))
    ]
    wanted = [dataclasses.replace(item, region=item.whole_region()) for item in several]
    if len(wanted) == 1:
        return wanted[0]
    network = pipeline.network
    alignments = align_requests(network, pipeline.scheduler, wanted, settings)
    return wanted[choose_reference(network, alignments).index]
