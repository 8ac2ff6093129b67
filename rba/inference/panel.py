"""Pictures that show cases to people: a row a case, a column a stage."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rba.case import Case
from rba.geometry import Box, cells_to_pixels, crop, resize, resize_mask
from rba.inference.frames import Frame, cut_reference, mask_in_frame, reference_frame
from rba.inference.request import RefinementResult

_TILE = 224  # pixels, one picture
_GAP = 10  # pixels between pictures
_TITLE = 30  # pixels, the line of column titles
_CAPTION = 24  # pixels, the line above a row
_PAPER = (255, 255, 255)
_INK = (33, 37, 41)
_FAINT = (110, 117, 125)
_MASK = (255, 64, 96)
_REGION = (255, 255, 255)
_TRUTH = (64, 255, 128)

_COLUMNS = (
    "image with defect",
    "defect (zoom)",
    "reference, match",
    "refined (zoom)",
    "truth (zoom)",
)
_LEGEND = "red: artifact mask and crop     white: region that was used     green: true region"


def case_panel(case: Case, result: RefinementResult) -> np.ndarray:
    """Show one case: HxWx3 uint8. The truth's column is left out where no truth is known."""
    return panel([case], [result])


def panel(
    cases: Sequence[Case],
    results: Sequence[RefinementResult],
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Compose a panel of cases.

    The columns: the image with the crop's frame; the crop with the artifact mask's outline; the
    complete reference as the network sees it under its correspondence map, with the outlines of
    the region that was used (white) and of the true one (green) where it is known; the refined
    crop; the true crop.

    Args:
        cases: What was refined.
        results: A result a case.
        captions: A line above each row; None writes the case's id.

    Returns:
        HxWx3 uint8 RGB.
    """
    with_truth = any(case.truth is not None for case in cases)
    columns = _COLUMNS if with_truth else _COLUMNS[:-1]
    width = _GAP + len(columns) * (_TILE + _GAP)
    row = _CAPTION + _TILE + _GAP
    canvas = Image.new("RGB", (width, _TITLE + len(cases) * row + _CAPTION), _PAPER)
    draw = ImageDraw.Draw(canvas)
    title, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for column, text in enumerate(columns):
        centre = _GAP + column * (_TILE + _GAP) + _TILE // 2
        draw.text((centre, _TITLE // 2 + 2), text, fill=_INK, font=title, anchor="mm")
    for index, (case, result) in enumerate(zip(cases, results, strict=True)):
        top = _TITLE + index * row
        text = case.id if captions is None else captions[index]
        draw.text((_GAP, top + _CAPTION // 2), text, fill=_FAINT, font=small, anchor="lm")
        for column, tile in enumerate(_tiles(case, result)[: len(columns)]):
            corner = (_GAP + column * (_TILE + _GAP), top + _CAPTION)
            canvas.paste(Image.fromarray(tile), corner)
    middle = _TITLE + len(cases) * row + _CAPTION // 2 - _GAP // 2
    draw.text((width - _GAP, middle), _LEGEND, fill=_FAINT, font=small, anchor="rm")
    return np.asarray(canvas)


def correspondence_overlay(
    reference: np.ndarray,
    correspondence_map: np.ndarray | None,
    region: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """Lay a correspondence map over a square reference.

    Args:
        reference: R x R x 3 uint8.
        correspondence_map: n x n, or None. Cells at or below its median stay clear.
        region: R x R bool, outlined in white, or None.
        truth: R x R bool, outlined in green, or None.

    Returns:
        R x R x 3 uint8.
    """
    shown = reference.copy()
    if correspondence_map is not None:
        above = correspondence_map - np.median(correspondence_map)
        heat = np.clip(above / max(float(above.max()), 1e-12), 0.0, 1.0)
        cells = np.rint(heat * 255).astype(np.uint8)
        colours = cv2.applyColorMap(cells, cv2.COLORMAP_TURBO)[..., ::-1]
        side = len(reference)
        share = 0.85 * np.sqrt(cells_to_pixels(heat, side, side))[..., None]
        mixed = share * cells_to_pixels(colours, side, side) + (1 - share) * reference
        shown = np.rint(mixed).astype(np.uint8)
    for mask, colour in ((truth, _TRUTH), (region, _REGION)):
        if mask is not None:
            shown = outlined(shown, mask, colour)
    return shown


def outlined(
    image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = _MASK
) -> np.ndarray:
    """Draw the outline of an HxW bool mask on an HxWx3 picture, with a dark edge for contrast."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    shown = np.array(image, order="C")
    cv2.drawContours(shown, contours, -1, (0, 0, 0), 4, cv2.LINE_AA)
    return cv2.drawContours(shown, contours, -1, colour, 2, cv2.LINE_AA)


def _tiles(case: Case, result: RefinementResult) -> list[np.ndarray]:
    box = result.crop_box
    defect = outlined(_zoom(case.image, box), _zoom_mask(case.artifact_mask, box))
    truth = case.truth
    missing = np.full((_TILE, _TILE, 3), 235, np.uint8)
    return [
        _whole(case.image, box),
        defect,
        _reference_tile(case, result),
        _zoom(result.image, box),
        missing if truth is None else _zoom(truth, box),
    ]


def _zoom(image: np.ndarray, box: Box) -> np.ndarray:
    return resize(crop(image, box), _TILE, _TILE)


def _zoom_mask(mask: np.ndarray, box: Box) -> np.ndarray:
    return resize_mask(crop(mask, box, fill=0), _TILE, _TILE)


def _whole(image: np.ndarray, box: Box) -> np.ndarray:
    """Fit the image into a tile and frame the crop."""
    frame = reference_frame(image, None, _TILE, object_margin=0.0)
    tile = np.where(frame.mask[..., None], frame.pixels, 255).astype(np.uint8)
    scale = _TILE / frame.box.width
    corners = [
        (round((x - frame.box.x0) * scale), round((y - frame.box.y0) * scale))
        for x, y in ((box.x0, box.y0), (box.x1, box.y1))
    ]
    low = (max(corners[0][0], 1), max(corners[0][1], 1))
    high = (min(corners[1][0], _TILE - 2), min(corners[1][1], _TILE - 2))
    cv2.rectangle(tile, low, high, (0, 0, 0), 4)
    return cv2.rectangle(tile, low, high, _MASK, 2)


def _reference_tile(case: Case, result: RefinementResult) -> np.ndarray:
    alignment = result.alignment
    box, seen = alignment.reference.box, (case.references[0], case.reference_masks[0])
    frame = Frame(
        box=box,
        pixels=cut_reference(*seen, box, _TILE),
        mask=resize_mask(alignment.reference.mask, _TILE, _TILE),
    )
    truth = case.correspondence_mask
    return correspondence_overlay(
        frame.pixels,
        alignment.correspondence_map,
        _region(alignment.region, frame),
        None if truth is None else mask_in_frame(truth, frame) >= 0.5,
    )


def _region(region: np.ndarray | None, frame: Frame) -> np.ndarray | None:
    return None if region is None else mask_in_frame(region, frame) >= 0.5
