"""Where on a view matches may lie."""

import dataclasses

import cv2
import numpy as np

from rba.geometry import resize


@dataclasses.dataclass(frozen=True)
class ViewArea:
    """The pixels of one view.

    Attributes:
        size: Height and width in pixels.
        mask: HxW bool, the object, or None where that is unknown.
    """

    size: tuple[int, int]
    mask: np.ndarray | None

    @property
    def unit(self) -> float:
        """Pixels of this view to a pixel of one whose longer side has 512, at least a half.

        Key points are found within about half a pixel, however small the view is.
        """
        return max(max(self.size) / 512.0, 0.5)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return which of [N, 2] points (x, y) lie within the view, and on its object if known."""
        height, width = self.size
        inside = np.all((points >= 0) & (points < (width, height)), axis=1)
        if self.mask is None:
            return inside
        x = np.clip(np.nan_to_num(points[:, 0]), 0, width - 1).astype(int)
        y = np.clip(np.nan_to_num(points[:, 1]), 0, height - 1).astype(int)
        return inside & self.mask[y, x]


def shrink_view(
    image: np.ndarray, mask: np.ndarray | None, longest: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Shrink a view and its mask to a longest side in pixels; never enlarge it."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image, mask
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if mask is not None:
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        mask = share >= 0.5
    return resize(image, height, width), mask
