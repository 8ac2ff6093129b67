"""What every method is scored by: each metric's name, unit, definition and function."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch

from rba.case import Case
from rba.evaluation.encoders import PictureEncoder, open_clip, open_dino
from rba.evaluation.methods import MethodResult
from rba.evaluation.perceptual import SIDE as LPIPS_SIDE
from rba.evaluation.perceptual import Score, open_lpips
from rba.evaluation.region_scores import PCK_ALPHA, RegionScorer
from rba.evaluation.similarity_scores import CROP_DEFINITION, CROP_RULE, SimilarityScorer
from rba.metrics.fidelity import psnr_in_hole, ssim_in_hole
from rba.metrics.preservation import max_change_outside
from rba.metrics.seam import seam_visibility

MOST_DB = 100.0
"""PSNR of equal pixels, so that the mean over cases stays finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One column of the table.

    Attributes:
        name: snake_case; pins model, input size and crop where an encoder judges.
        unit: Of the figure; empty where it is a plain number.
        better: Which way is good.
        definition: One sentence.
        score: Figure of one result; None where it is not defined for the case (no truth, no region
            of the method's own). None where the metric is not computed.
        skipped: Why it is not computed, else None.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    definition: str
    score: Score | None = None
    skipped: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """How results are scored.

    Attributes:
        reference_side: R: regions are compared as pixels of the R x R complete reference.
        object_margin: Margin around the reference's object there, as `RefinementSettings` has it.
        dino: Local transformers folder of DINO or DINOv2, or None.
        clip: Local transformers folder of CLIP, or None.
        lpips: torch.hub's folder with torchvision's AlexNet, or None.
        device: Where encoders run.
    """

    reference_side: int = 224
    object_margin: float = 0.1
    dino: str | None = None
    clip: str | None = None
    lpips: str | None = None
    device: str = "cpu"


def make_metrics(settings: ScoringSettings) -> dict[str, Metric]:
    """Return all metrics by name, in the table's order; no encoder's weights are loaded yet.

    Raises:
        InputError: If a folder of weights is not what its option says.
    """
    metrics = [
        *_region_metrics(RegionScorer(settings.reference_side, settings.object_margin)),
        *_picture_metrics(),
        *_similarity_metrics("dino", settings.dino, open_dino, settings.device),
        *_similarity_metrics("clip_i", settings.clip, open_clip, settings.device),
        _lpips_metric(settings.lpips),
    ]
    return {metric.name: metric for metric in metrics}


def score_result(
    metrics: Mapping[str, Metric], case: Case, result: MethodResult
) -> dict[str, float | None]:
    """Score one result by every metric that is computed; None where a figure is not defined.

    Raises:
        ValueError: If the result's image or region is not of the size it should have.
    """
    if result.image.shape != case.image.shape or result.image.dtype != np.uint8:
        raise ValueError(
            f"case {case.id}: a result of {result.image.dtype} {result.image.shape} for an image "
            f"of {case.image.shape}"
        )
    return {
        name: _finite(metric.score(case, result))
        for name, metric in metrics.items()
        if metric.score is not None
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _region_metrics(scorer: RegionScorer) -> list[Metric]:
    known = "pixels of the complete reference as the network sees it; an empty region scores 0"
    definitions = {
        "iou_mask": f"Intersection over union of the method's region and the true one, as {known}.",
        "iou_box": "Intersection over union of the tight boxes of both regions.",
        "iou_equal_area": "IoU of the raw correspondence map's largest cells, cut at the true "
        "region's own area (a method without a map: the share of each of 16 x 16 cells that its "
        "region covers).",
        "hit": "1 where the centre of that map's largest cell lies in the true region; of several "
        "equally large cells, the share whose centre does.",
    }
    metrics = [_region_metric(scorer, name, name, text) for name, text in definitions.items()]
    pck = (
        f"1 where the region's centre of mass lies within {PCK_ALPHA} of the longer side of the "
        "reference's object box (of the picture where no object mask is known) of the true one's."
    )
    return [*metrics, _region_metric(scorer, f"pck_{PCK_ALPHA}", "pck", pck)]


def _region_metric(scorer: RegionScorer, name: str, figure: str, definition: str) -> Metric:
    def score(case: Case, result: MethodResult) -> float | None:
        return scorer.score(case, result, figure)

    return Metric(name=name, unit="", better="higher", definition=definition, score=score)


def _picture_metrics() -> list[Metric]:
    return [
        Metric(
            name="psnr_hole_db",
            unit="dB",
            better="higher",
            definition="Peak signal-to-noise ratio to the truth over the artifact mask's pixels, a "
            f"case at a time, then averaged; equal pixels count as {MOST_DB:g} dB.",
            score=_psnr,
        ),
        Metric(
            name="ssim_hole",
            unit="",
            better="higher",
            definition="Mean over the artifact mask's pixels of the SSIM map to the truth (7 x 7 "
            "windows, mean over the channels).",
            score=_ssim,
        ),
        Metric(
            name="change_outside",
            unit="grey levels",
            better="lower",
            definition="Largest difference of a pixel from the image outside the artifact mask and "
            "the border that the method says it fades into; must be 0.",
            score=_change_outside,
        ),
        Metric(
            name="seam",
            unit="",
            better="lower",
            definition="Mean step between neighbouring pixels across the artifact mask's border, "
            "over the mean step within 4 pixels on either side of it, one grey level added to "
            "both; 1 = the border is no stronger than its surroundings.",
            score=_seam,
        ),
        Metric(
            name="seam_to_truth",
            unit="",
            better="lower",
            definition="The seam over the truth's seam at the same place; 1 = as visible as the "
            "picture itself is there.",
            score=_seam_to_truth,
        ),
    ]


def _psnr(case: Case, result: MethodResult) -> float | None:
    if case.truth is None:
        return None
    return min(psnr_in_hole(result.image, case.truth, case.artifact_mask), MOST_DB)


def _ssim(case: Case, result: MethodResult) -> float | None:
    if case.truth is None:
        return None
    return ssim_in_hole(result.image, case.truth, case.artifact_mask)


def _change_outside(case: Case, result: MethodResult) -> float:
    allowed = case.artifact_mask
    if result.faded is not None:
        allowed = allowed | result.faded
    return float(max_change_outside(case.image, result.image, allowed))


def _seam(case: Case, result: MethodResult) -> float:
    return seam_visibility(result.image, case.artifact_mask)


def _seam_to_truth(case: Case, result: MethodResult) -> float | None:
    if case.truth is None:
        return None
    return _seam(case, result) / seam_visibility(case.truth, case.artifact_mask)


def _similarity_metrics(
    kind: str,
    folder: str | None,
    opened: Callable[[str, torch.device], PictureEncoder],
    device: str,
) -> list[Metric]:
    option = {"dino": "--dino", "clip_i": "--clip"}[kind]
    make = functools.partial(Metric, unit="", better="higher")
    if folder is None:
        reason = f"no weights: give {option} DIR, a local transformers folder"
        text = "Cosine similarity of the refined region to the matched region of the reference."
        return [make(name=kind, definition=text, skipped=reason)]
    encoder = opened(folder, torch.device(device))
    scorer = SimilarityScorer(encoder)
    name = f"{encoder.name.replace('clip_', 'clip_i_', 1)}_{CROP_RULE}"
    what = f"of the artifact mask's region to the matched region of the reference ({encoder.name})"
    return [
        make(
            name=f"{name}_before",
            definition=f"Cosine similarity {what}, of the image as it came; region: "
            f"{CROP_DEFINITION}, resized to the encoder's input.",
            score=lambda case, _result: scorer.before(case),
        ),
        make(name=name, definition=f"The same {what}, after refinement.", score=scorer.after),
        make(name=f"{name}_gain", definition="After minus before.", score=scorer.gain),
    ]


def _lpips_metric(folder: str | None) -> Metric:
    opened = (
        "no weights: give --lpips DIR, torch.hub's folder with torchvision's AlexNet"
        if folder is None
        else open_lpips(folder)
    )
    return Metric(
        name=f"lpips_alex_{LPIPS_SIDE}_{CROP_RULE}",
        unit="",
        better="lower",
        definition="LPIPS (AlexNet) between refined image and truth, both cropped to "
        f"{CROP_DEFINITION} (around the artifact mask), resized to {LPIPS_SIDE} pixels.",
        score=None if isinstance(opened, str) else opened,
        skipped=opened if isinstance(opened, str) else None,
    )
