"""Synthetic artifacts: what a generator gets wrong about an object, inside a mask only.

Glyphs swapped or smeared, texture warped, pattern displaced: the surroundings stay plausible, the
content is wrong, and only a reference tells the right one.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from rba.geometry import crop, mask_box, paste
from rba.rendering import defect_kinds, defect_marks
from rba.rendering.glyphs import Glyphs

# Mean absolute change inside the mask, of 255, below which a defect is not visible and another kind
# is tried.
_VISIBLE_CHANGE = 22.0
_FALLBACK_SHIFT = 70
_ATTEMPTS = 3  # with one kind
CONTRAST = "contrast"  # where no kind is visible

_Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
_TEXTURE_KINDS: dict[str, _Change] = {
    "warped": defect_kinds.warp,
    "smeared": defect_kinds.smear,
    "displaced": defect_kinds.displace,
    "shuffled": defect_kinds.shuffle,
    "scribbled": defect_kinds.scribble,
}
_MARK_KINDS: dict[str, _Change] = {
    "blurred": defect_marks.blur,
    "recoloured": defect_marks.recolour,
    "ghosted": defect_marks.ghost,
    "mark_missing": defect_marks.erase,
}
_WRONG_MARK = "mark_wrong"
DEFECTS = (*_TEXTURE_KINDS, *_MARK_KINDS, _WRONG_MARK)


def make_defect(
    image: np.ndarray, artifact_mask: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Damage an image inside a mask by one of the five kinds of damage to texture.

    Args:
        image: HxWx3 uint8.
        artifact_mask: HxW bool, not empty.
        rng: Source of all randomness.

    Returns:
        HxWx3 uint8, bit-equal outside the mask; inside, the mean absolute change is at least 22.

    Raises:
        ValueError: If the mask is empty or of another size.
    """
    _check(image, artifact_mask)
    order = rng.permutation(len(_TEXTURE_KINDS))
    names = tuple(_TEXTURE_KINDS)
    return _first_visible(image, artifact_mask, rng, [names[int(n)] for n in order], Glyphs(), 1)[0]


def make_defect_of(
    kinds: Sequence[str],
    image: np.ndarray,
    artifact_mask: np.ndarray,
    rng: np.random.Generator,
    glyphs: Glyphs | None = None,
) -> tuple[np.ndarray, str]:
    """Damage an image inside a mask by the first of some kinds that is visible there.

    Args:
        kinds: Of `DEFECTS`, the wanted one first; each is tried three times.
        image: HxWx3 uint8.
        artifact_mask: HxW bool, not empty.
        rng: Source of all randomness.
        glyphs: What wrong marks are made of; all by default.

    Returns:
        The damaged image as of `make_defect`, and the kind, ``contrast`` where none was visible.

    Raises:
        ValueError: If the mask is empty or of another size, or a kind is unknown.
    """
    _check(image, artifact_mask)
    if unknown := sorted(set(kinds) - set(DEFECTS)):
        raise ValueError(f"unknown kinds of defects {unknown}; known are {', '.join(DEFECTS)}")
    return _first_visible(image, artifact_mask, rng, kinds, glyphs or Glyphs(), _ATTEMPTS)


def _check(image: np.ndarray, artifact_mask: np.ndarray) -> None:
    if artifact_mask.shape != image.shape[:2] or not artifact_mask.any():
        raise ValueError(
            f"an artifact mask of shape {artifact_mask.shape} with {int(artifact_mask.sum())} "
            f"pixels set does not mark a defect on an image of shape {image.shape}"
        )


def _first_visible(
    image: np.ndarray,
    artifact_mask: np.ndarray,
    rng: np.random.Generator,
    kinds: Sequence[str],
    glyphs: Glyphs,
    attempts: int,
) -> tuple[np.ndarray, str]:
    box = mask_box(artifact_mask)
    box = box.grown(max(max(box.width, box.height) // 2, 6))
    before, mask = crop(image, box), crop(artifact_mask, box, fill=0)
    changes = _changes(image, mask, glyphs)
    damaged, found = _contrast(before), CONTRAST
    for kind in (kind for kind in kinds for _ in range(attempts)):
        after = changes[kind](before, rng)
        if float(cv2.absdiff(before, after)[mask].mean()) >= _VISIBLE_CHANGE:
            damaged, found = after, kind
            break
    return np.where(artifact_mask[..., None], paste(image, damaged, box), image), found


def _changes(
    image: np.ndarray, mask: np.ndarray, glyphs: Glyphs
) -> Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]:
    """Return each kind as a function of the part and the generator."""
    changes: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {}
    for kind, texture in _TEXTURE_KINDS.items():
        changes[kind] = lambda part, rng, change=texture: change(part, image, rng)
    for kind, mark in _MARK_KINDS.items():
        changes[kind] = lambda part, rng, change=mark: change(part, mask, rng)
    wrong = functools.partial(defect_marks.wrong_mark, mask=mask, glyphs=glyphs)
    changes[_WRONG_MARK] = lambda part, rng: wrong(part, rng=rng)
    return changes


def _contrast(part: np.ndarray) -> np.ndarray:
    """Push every value towards the far end of the range: visible on any flat ground."""
    values = part.astype(np.int16)
    return np.where(values < 128, values + _FALLBACK_SHIFT, values - _FALLBACK_SHIFT).astype(
        np.uint8
    )
