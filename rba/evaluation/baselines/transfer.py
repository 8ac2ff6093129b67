"""Bring a place of the reference into the hole by a map of the plane: the classical baselines."""

import dataclasses
import math

import cv2
import numpy as np

from rba.case import Case
from rba.evaluation.baselines.poisson import poisson_blend
from rba.evaluation.methods import FALLBACK, MethodResult
from rba.geometry import Box, crop, mask_box, paste, project, resize

FIT = "ecc shift, affine below 0.95"
"""How `align_finely` changes a map; a result made in another way is another row's."""
_RING = 0.35  # width of the ring that is compared, in sides of the hole's box
_NARROWEST, _WIDEST = 6, 32  # pixels
_FEWEST = 24  # pixels of the ring that the reference must show
_LEAST_COVERED = 0.1  # share of the hole that the reference must show
_STRETCH = 8.0  # a map that scales by more, or less than its inverse, is none
_GAIN = (0.5, 2.0)  # range in which contrast is matched
_GOOD = 0.95
_FLAT = 2.0  # grey levels: below this deviation contrast says nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warped:
    """The reference as a map shows it around the hole.

    Attributes:
        box: The window, inside the image.
        patch: hxwx3 float32 in grey levels.
        covered: hxw bool, where the reference (its object where known) shows something.
        agreement: Normalised correlation with the image in the ring around the hole, -1 to 1.
    """

    box: Box
    patch: np.ndarray
    covered: np.ndarray
    agreement: float


def plausible(matrix: np.ndarray, mask: np.ndarray) -> bool:
    """Say whether a map keeps sides, order and size over the box of an HxW mask.

    Args:
        matrix: 3x3, pixels of the image to pixels of the reference (centres at +0.5).
        mask: HxW bool, not empty.
    """
    if not np.isfinite(matrix).all():
        return False
    box = mask_box(mask)
    xs, ys = np.meshgrid(np.linspace(box.x0, box.x1, 3), np.linspace(box.y0, box.y1, 3))
    corners = np.stack([xs.ravel(), ys.ravel()], axis=1)
    depth = np.c_[corners, np.ones(len(corners))] @ matrix[2]
    if (depth <= 1e-6).any() and (depth >= -1e-6).any():
        return False
    steps = [project(corners + step, matrix) - project(corners, matrix) for step in np.eye(2) / 2]
    area = 4.0 * (steps[0][:, 0] * steps[1][:, 1] - steps[0][:, 1] * steps[1][:, 0])
    lengths = [2.0 * np.linalg.norm(step, axis=1) for step in steps]
    return bool(
        (area > 0).all()
        and all((v < _STRETCH).all() and (v > 1 / _STRETCH).all() for v in lengths)
        and (area > 0.1 * lengths[0] * lengths[1]).all()
    )


def warp_reference(case: Case, index: int, matrix: np.ndarray) -> Warped | None:
    """Show a reference around the hole; None where a map leads (nearly) outside it.

    Args:
        case: The case.
        index: Which reference.
        matrix: 3x3, pixels of the image to pixels of the reference; `plausible`.
    """
    mask = case.artifact_mask
    box = mask_box(mask)
    longest = max(box.width, box.height)
    width = min(max(math.ceil(_RING * longest), _NARROWEST), _WIDEST)
    grown = box.grown(width)
    height, length = mask.shape
    window = Box(max(grown.x0, 0), max(grown.y0, 0), min(grown.x1, length), min(grown.y1, height))
    patch, covered = _sample(case, index, matrix, window)
    hole = crop(mask, window)
    if (covered & hole).sum() < _LEAST_COVERED * hole.sum():
        return None
    near = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring = covered & ~hole & (near <= width)
    image = crop(case.image, window).astype(np.float32)
    patch = _match_light(image, patch, ring)
    return Warped(
        box=window, patch=patch, covered=covered, agreement=_correlation(image[ring], patch[ring])
    )


def align_finely(
    case: Case, index: int, matrix: np.ndarray, warped: Warped
) -> tuple[np.ndarray, Warped]:
    """Fit a correction to the pixels around the hole; kept where it agrees better.

    OpenCV's ECC (Evangelidis and Psarakis 2008) on the window of `warp_reference`: a shift, and an
    affine map where that does not agree well. In a picture's corner, seen from two sides, an affine
    map that needs no correction would drift.
    """
    for motion in (cv2.MOTION_TRANSLATION, cv2.MOTION_AFFINE):
        if motion == cv2.MOTION_AFFINE and warped.agreement >= _GOOD:
            break
        better = _corrected(case, matrix, warped, motion)
        if better is None or not plausible(better, case.artifact_mask):
            continue
        shown = warp_reference(case, index, better)
        if shown is not None and shown.agreement > warped.agreement:
            matrix, warped = better, shown
    return matrix, warped


def _corrected(case: Case, matrix: np.ndarray, warped: Warped, motion: int) -> np.ndarray | None:
    """Return a map after one fit; None where there is nothing to fit to, or no convergence."""
    window = warped.box
    seen = ~crop(case.artifact_mask, window)
    image, patch = (
        cv2.cvtColor(np.clip(part, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for part in (crop(case.image, window), warped.patch)
    )
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    try:
        _, moved = cv2.findTransformECC(
            patch, image, start, motion, criteria, seen.astype(np.uint8), 3
        )
    except cv2.error:
        return None
    shift = np.array([[1.0, 0.0, window.x0], [0.0, 1.0, window.y0], [0.0, 0.0, 1.0]])
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    step = half @ np.vstack([moved, [0.0, 0.0, 1.0]]) @ np.linalg.inv(half)
    if abs(np.linalg.det(step)) < 1e-6:
        return None
    return matrix @ shift @ np.linalg.inv(step) @ np.linalg.inv(shift)


def transfer(case: Case, index: int, matrix: np.ndarray, warped: Warped) -> MethodResult:
    """Blend what a map shows into the hole; its region is the hole's place on the reference."""
    window = warped.box
    part = poisson_blend(
        crop(case.image, window), warped.patch, warped.covered, crop(case.artifact_mask, window)
    )
    return MethodResult(
        image=paste(case.image, part, window),
        region=region_of(case, index, matrix),
        reference_index=index,
        notes={
            "agreement": round(warped.agreement, 4),
            "matrix": [[float(f"{value:.9g}") for value in row] for row in matrix],
        },
    )


def not_found(case: Case, reason: str) -> MethodResult:
    """Leave the image as it is; the region is empty, for it was searched for and not found."""
    empty = np.zeros(case.references[0].shape[:2], bool)
    return MethodResult(image=case.image, region=empty, notes={FALLBACK: reason})


def region_of(case: Case, index: int, matrix: np.ndarray) -> np.ndarray:
    """Map the artifact mask to a reference: hxw bool, at least the pixel of its middle."""
    height, width = case.references[index].shape[:2]
    hole = case.artifact_mask.astype(np.uint8)
    region = cv2.warpPerspective(
        hole, _indices(matrix), (width, height), flags=cv2.INTER_NEAREST
    ).astype(bool)
    if not region.any():
        middle = np.argwhere(case.artifact_mask).mean(axis=0)[::-1] + 0.5
        x, y = np.floor(project(middle[None], matrix)[0]).astype(int)
        region[min(max(y, 0), height - 1), min(max(x, 0), width - 1)] = True
    return region


def _sample(
    case: Case, index: int, matrix: np.ndarray, window: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reference's pixels over a window of the image, and where it shows something."""
    picture, known = case.references[index], case.reference_masks[index]
    shown = np.ones(picture.shape[:2], bool) if known is None else known
    box = mask_box(case.artifact_mask)
    middle = np.array([[box.x0 + box.x1, box.y0 + box.y1]]) / 2.0
    here = project(np.concatenate([middle, middle + np.eye(2) / 2]), matrix)
    scale = 2.0 * math.sqrt(abs(np.linalg.det((here[1:] - here[0]).T)))
    shrunk = np.eye(3)
    if scale > 1.5:  # several pixels of the reference to one of the image: average, not skip
        size = [max(1, round(side / scale)) for side in picture.shape[:2]]
        shrunk = np.diag([size[1] / picture.shape[1], size[0] / picture.shape[0], 1.0])
        picture = resize(picture, *size)
        shown = cv2.resize(shown.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.5
    shift = np.array([[1.0, 0.0, window.x0], [0.0, 1.0, window.y0], [0.0, 0.0, 1.0]])
    back = _indices(shrunk @ matrix @ shift)
    size = (window.width, window.height)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpPerspective(
        picture.astype(np.float32), back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    covered = cv2.warpPerspective(shown.astype(np.float32), back, size, flags=flags)
    return patch, covered > 0.99


def _indices(matrix: np.ndarray) -> np.ndarray:
    """Turn a map between pixels with centres at +0.5 into OpenCV's, with centres at 0."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return np.linalg.inv(half) @ matrix @ half


def _match_light(image: np.ndarray, patch: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Match contrast and level of the patch to the image's in the ring, channel by channel."""
    if ring.sum() < _FEWEST:
        return patch
    wanted, found = image[ring], patch[ring]
    deviation = found.std(axis=0)
    gain = np.clip(wanted.std(axis=0) / np.maximum(deviation, 1e-6), *_GAIN)
    gain = np.where(deviation < _FLAT, 1.0, gain)
    return ((patch - found.mean(axis=0)) * gain + wanted.mean(axis=0)).astype(np.float32)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two sets of colours [N, 3]; -1 of too few, 0 of flat ones."""
    if len(first) < _FEWEST:
        return -1.0
    one, other = (part - part.mean(axis=0) for part in (first, second))
    length = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / length) if length > 1e-6 else 0.0
