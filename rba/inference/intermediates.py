"""What is written beside a refined image: map, masks, crops, facts and a panel."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from rba.case import Case
from rba.inference.images import DefectResult, ImageResult
from rba.inference.panel import case_panel
from rba.inference.request import RefinementResult
from rba.metrics.preservation import max_change_outside
from rba.pictures import write_png


def save_intermediates(folder: Path, case: Case, result: RefinementResult) -> None:
    """Write map, masks, crops, facts and a panel of one result."""
    alignment = result.alignment
    write_png(folder / "crop.png", alignment.crop.pixels)
    write_png(folder / "crop_mask.png", alignment.crop.mask)
    write_png(folder / "refined_crop.png", result.refined_crop)
    write_png(folder / "feather_mask.png", np.rint(result.feather_mask() * 255).astype(np.uint8))
    if alignment.correspondence_map is not None:
        np.save(folder / "correspondence_map.npy", alignment.correspondence_map)
    if alignment.region is not None:
        write_png(folder / "correspondence_mask.png", alignment.region)
    if alignment.matched is not None:
        write_png(folder / "matched_region.png", alignment.matched.pixels)
    write_png(folder / "panel.png", case_panel(case, result))
    (folder / "result.json").write_text(json.dumps(result_facts(case, result), indent=2) + "\n")


def result_facts(case: Case, result: RefinementResult) -> dict[str, object]:
    """Return what is known of a result as plain JSON values."""
    return {
        **_defect_facts(result),
        "feathered_pixels": int((result.feather_mask() > 0).sum()),
        "artifact_pixels": int(case.artifact_mask.sum()),
        "max_change_outside_feathered_mask": max_change_outside(
            case.image, result.image, result.feather_mask() > 0
        ),
        "seconds": result.seconds,
    }


def save_image_intermediates(folder: Path, case: Case, result: ImageResult) -> None:
    """Write the intermediates of a whole image.

    One defect has its files in the folder itself, several in ``defect_1``, ``defect_2``, ...;
    ``result.json`` tells of all.
    """
    several = len(result.defects) > 1
    for number, defect in enumerate(result.defects, 1):
        place = folder / f"defect_{number}" if several else folder
        place.mkdir(exist_ok=True)
        save_intermediates(place, _case_of(case, defect), defect.result)
    (folder / "result.json").write_text(json.dumps(image_facts(case, result), indent=2) + "\n")


def image_facts(case: Case, result: ImageResult) -> dict[str, object]:
    """Return what is known of a refined image as plain JSON values.

    Boxes, fallback and confidence are those of the largest defect; ``defects`` has all.
    """
    weights = result.feather_mask() > 0
    first = result.defects[0]
    return {
        **result_facts(_case_of(case, first), first.result),
        "feathered_pixels": int(weights.sum()),
        "artifact_pixels": int(case.artifact_mask.sum()),
        "max_change_outside_feathered_mask": max_change_outside(case.image, result.image, weights),
        "seconds": result.seconds,
        "defects": [
            {
                **_defect_facts(defect.result),
                "artifact_pixels": int(defect.mask.sum()),
                "mask_grown": defect.mask_grown,
                "reference": defect.choice.index,
                "reference_scores": defect.choice.scores,
                "reference_reason": defect.choice.reason,
            }
            for defect in result.defects
        ],
    }


def _case_of(case: Case, defect: DefectResult) -> Case:
    """Return the case as the defect saw it: its own mask, the reference that was used first."""
    index = defect.choice.index
    return dataclasses.replace(
        case,
        artifact_mask=defect.mask,
        references=(case.references[index],),
        reference_masks=(case.reference_masks[index],),
        correspondence_mask=case.correspondence_mask if index == 0 else None,
    )


def _defect_facts(result: RefinementResult) -> dict[str, object]:
    box, matched = result.crop_box, result.reference_box
    confidence = result.alignment.confidence
    return {
        "crop_box": dataclasses.astuple(box),
        "reference_box": None if matched is None else dataclasses.astuple(matched),
        "fallback": result.alignment.fallback,
        "confidence": None if np.isnan(confidence) else confidence,
    }
