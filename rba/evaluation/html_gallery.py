"""Galleries of the report: the best, the middle and the worst cases, a picture for every row."""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from rba.case import Case
from rba.evaluation.bench_metrics import Row
from rba.evaluation.case_set import CaseFacts, CaseSet
from rba.evaluation.network_rows import OURS
from rba.evaluation.result_files import ResultFolder
from rba.geometry import mask_box, resize, square_around
from rba.inference.panel import outlined
from rba.metrics.region import truth_mask

_TILE = 176  # pixels
_ZOOM = 2.0  # side of the shown square in sides of the mask's box
_MASK, _REGION, _TRUE = (255, 64, 96), (255, 255, 255), (64, 255, 128)
_EACH = 4  # cases a gallery
PSNR = "psnr_hole_db"
SEAM = "seam"


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a gallery: what it is, a figure beneath it, and its bytes as a data URL."""

    title: str
    figure: str
    url: str


@dataclasses.dataclass(frozen=True)
class GalleryCase:
    """One case of a gallery."""

    id: str
    caption: str
    pictures: Sequence[Picture]


def galleries(
    rows: Sequence[Row], cases: CaseSet, folders: Mapping[str, ResultFolder]
) -> tuple[str, dict[str, list[GalleryCase]]]:
    """Show how the first of our rows did, sorted by what it gained.

    Args:
        rows: Of the table.
        cases: Of the table.
        folders: Of every row.

    Returns:
        What the cases are sorted by, and the galleries by title; nothing without `OURS`.
    """
    by_name = {row.method.name: row for row in rows}
    if OURS not in by_name:
        return "", {}
    told, gains = _gains(by_name, cases.cases)
    order = [case for case in cases.cases if case.id in gains]
    order.sort(key=lambda case: (-gains[case.id], case.id))
    count = min(_EACH, len(order))
    middle = max((len(order) - count) // 2, 0)
    chosen = {
        "Best": order[:count],
        "Median": order[middle : middle + count],
        "Worst": order[::-1][:count],
    }
    return told, {
        title: [_show(facts, gains[facts.id], cases, by_name, folders) for facts in picked]
        for title, picked in chosen.items()
        if picked
    }


def picture_url(pixels: np.ndarray) -> str:
    """Return an HxWx3 uint8 picture as a data URL (JPEG)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _gains(rows: Mapping[str, Row], cases: Sequence[CaseFacts]) -> tuple[str, dict[str, float]]:
    ours = rows[OURS].values(PSNR, cases)
    before = rows["defect"].values(PSNR, cases) if "defect" in rows else {}
    both = {name: value - before[name] for name, value in ours.items() if name in before}
    if both:
        return "PSNR in the hole, ours minus the defect, dB", both
    if ours:
        return "PSNR in the hole of ours, dB", ours
    seams = rows[OURS].values(SEAM, cases)
    return "the seam of ours, weakest first", {name: -value for name, value in seams.items()}


def _show(
    facts: CaseFacts,
    gain: float,
    cases: CaseSet,
    rows: Mapping[str, Row],
    folders: Mapping[str, ResultFolder],
) -> GalleryCase:
    case = cases.read(facts)
    square = _square(case)
    pictures = [
        Picture("image", "", _tile(outlined(case.image, case.artifact_mask, _MASK))),
        Picture("reference", _region_words(rows[OURS], facts), _reference(case, facts, folders)),
    ]
    if case.truth is not None:
        pictures.append(Picture("truth", "", _tile(case.truth[square])))
    for name, row in rows.items():
        result = folders[name].read(facts.id)
        if result is not None:
            figure = row.stored[facts.id].scores.get(PSNR)
            words = "" if figure is None else f"{figure:.1f} dB"
            pictures.append(Picture(name, words, _tile(result.image[square])))
    return GalleryCase(facts.id, f"{facts.task}, {gain:+.2f}", pictures)


def _square(case: Case) -> tuple[slice, slice]:
    """Return the square around the defect that is shown, inside the picture."""
    height, width = case.artifact_mask.shape
    box = mask_box(case.artifact_mask)
    side = min(round(_ZOOM * max(box.width, box.height)), height, width)
    square = square_around(box, height, width, max(side, 8))
    return slice(max(square.y0, 0), square.y1), slice(max(square.x0, 0), square.x1)


def _reference(case: Case, facts: CaseFacts, folders: Mapping[str, ResultFolder]) -> str:
    """Show the reference with the region that was found (white) and the true one (green)."""
    result = folders[OURS].read(facts.id)
    index = 0 if result is None else result.reference_index
    shown = case.references[index]
    if case.correspondence_mask is not None and index == 0:
        shown = outlined(shown, truth_mask(case.correspondence_mask), _TRUE)
    if result is not None and result.region is not None:
        shown = outlined(shown, result.region, _REGION)
    return _tile(shown)


def _region_words(row: Row, facts: CaseFacts) -> str:
    found = row.stored[facts.id].scores.get("iou_mask")
    return "" if found is None else f"IoU {found:.2f}"


def _tile(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    scale = _TILE / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    return picture_url(resize(pixels, *size))
