"""Scores of the region that a method took its content from, against the correspondence mask."""

import numpy as np

from rba.case import Case
from rba.evaluation.baselines.prediction import Prediction, area_map
from rba.evaluation.methods import MethodResult
from rba.evaluation.scores import Truth, alignment_scores, case_truth
from rba.geometry import Box, crop, mask_box, resize_mask
from rba.inference.frames import Frame, mask_in_frame, reference_frame
from rba.metrics.region import centre_within, truth_mask

PCK_ALPHA = 0.1
_CELLS = 16  # cells along a side: the paper's correspondence map
NAMES = {
    "iou_mask": "miou",
    "iou_box": "box_miou",
    "iou_equal_area": "miou_at_truth_area",
    "hit": "hit_rate",
}
"""Name in the table and name of the figure in `alignment_scores`."""


class RegionScorer:
    """Score regions on the complete reference as the network sees it, R x R pixels.

    What was scored last is kept: the metrics of one result are asked for one after another.

    Args:
        side: R in pixels.
        object_margin: Margin around the object where its mask is known, share of its longer side.
    """

    def __init__(self, side: int, object_margin: float) -> None:
        self._side = side
        self._margin = object_margin
        self._case: tuple[Case, Frame, Truth | None] | None = None
        self._scored: tuple[Case, MethodResult, dict[str, float]] | None = None

    def score(self, case: Case, result: MethodResult, name: str) -> float | None:
        """Return one score; None where the case has no truth or the result no region of its own.

        A region that is empty was searched for and not found: it scores 0.

        Args:
            case: The case.
            result: Its region lies on the case's first reference, or is not scored.
            name: Of `NAMES`, or ``pck``.

        Raises:
            ValueError: If the region does not fit the reference.
        """
        if result.region is None or result.reference_index != 0:
            return None
        if self._scored is None or self._scored[0] is not case or self._scored[1] is not result:
            self._scored = (case, result, self._scores(case, result, result.region))
        return self._scored[2].get(name)

    def _scores(self, case: Case, result: MethodResult, region: np.ndarray) -> dict[str, float]:
        if region.shape != case.references[0].shape[:2]:
            raise ValueError(
                f"case {case.id}: a region of {region.shape} on a reference of "
                f"{case.references[0].shape[:2]}"
            )
        frame, truth = self._framed(case)
        if truth is None:
            return {}
        mask = _region_in_frame(region, frame)
        if not mask.any():
            return dict.fromkeys((*NAMES, "pck"), 0.0)
        values = result.correspondence
        prediction = Prediction(
            correspondence_map=area_map(mask, _CELLS) if values is None else values, mask=mask
        )
        scores = alignment_scores(prediction, truth)
        known = truth.object_mask
        box = mask_box(known) if known.any() else Box(0, 0, frame.side, frame.side)
        reach = PCK_ALPHA * max(box.width, box.height)
        return {name: scores[source] for name, source in NAMES.items()} | {
            "pck": centre_within(mask, truth.region, reach)
        }

    def _framed(self, case: Case) -> tuple[Frame, Truth | None]:
        if self._case is None or self._case[0] is not case:
            picture, known = case.references[0], case.reference_masks[0]
            frame = reference_frame(picture, known, self._side, object_margin=self._margin)
            self._case = (case, frame, case_truth(case, frame))
        return self._case[1:]


def _region_in_frame(region: np.ndarray, frame: Frame) -> np.ndarray:
    """Bring a region into the frame as the truth is brought; a thin one keeps what it touches."""
    mask = truth_mask(mask_in_frame(region, frame))
    if mask.any():
        return mask
    return resize_mask(crop(region, frame.box, fill=0), frame.side, frame.side)
