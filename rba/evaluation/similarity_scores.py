"""Likeness of the refined region to the matched region of the reference."""

import hashlib
import math

import numpy as np

from rba.case import Case
from rba.evaluation.encoders import PictureEncoder
from rba.evaluation.methods import MethodResult
from rba.geometry import crop, mask_box, square_around
from rba.metrics.region import truth_mask
from rba.metrics.similarity import cosine

CROP_RULE = "region1.5"
CROP_DEFINITION = (
    "the square around the middle of the region's tight box, 1.5 times its longer side and at "
    "least 32 pixels, moved into the picture where it fits, else continued by its edge"
)
_FACTOR = 1.5
_SMALLEST = 32  # pixels
_KEPT = 4096  # vectors


class SimilarityScorer:
    """Cosine of an encoder's features of two regions; features of equal crops are computed once.

    Args:
        encoder: One vector a square picture.
    """

    def __init__(self, encoder: PictureEncoder) -> None:
        self._encoder = encoder
        self._kept: dict[bytes, np.ndarray] = {}

    def before(self, case: Case) -> float | None:
        """Return the defect's similarity to the matched region; None where that is not known."""
        return self._similarity(case, case.image)

    def after(self, case: Case, result: MethodResult) -> float | None:
        """Return the refined region's similarity to the matched region."""
        return self._similarity(case, result.image)

    def gain(self, case: Case, result: MethodResult) -> float | None:
        """Return after minus before."""
        after, before = self.after(case, result), self.before(case)
        return None if after is None or before is None else after - before

    def _similarity(self, case: Case, image: np.ndarray) -> float | None:
        known = case.correspondence_mask
        if known is None or not truth_mask(known).any():
            return None
        reference = self._features(region_crop(case.references[0], truth_mask(known)))
        value = cosine(self._features(region_crop(image, case.artifact_mask)), reference)
        return value if math.isfinite(value) else None

    def _features(self, picture: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(picture.tobytes()).digest()  # squares: equal bytes, equal shapes
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._encoder(picture)
        return self._kept[key]


def region_crop(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut `CROP_RULE`'s square around an HxW bool mask, not empty, out of an HxWx3 picture."""
    box = mask_box(mask)
    side = max(math.ceil(_FACTOR * max(box.width, box.height)), _SMALLEST)
    return crop(picture, square_around(box, mask.shape[0], mask.shape[1], side))
