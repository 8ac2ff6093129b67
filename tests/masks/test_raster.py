"""Windows of pixels: the largest component against SciPy's labels."""

import numpy as np
import pytest
from scipy import ndimage

from rba.masks.raster import largest_component


def window(number: int, share: float) -> np.ndarray:
    return (np.random.default_rng(number).random((9, 13)) < share).astype(np.uint8)


WINDOWS = [window(number, share) for number in range(40) for share in (0.05, 0.2, 0.5, 0.8)]
RING = np.pad(np.zeros((5, 5), np.uint8), 2, constant_values=1)
WINDOWS += [np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8), RING]
RING_AND_DOT = RING.copy()
RING_AND_DOT[4, 4] = 1  # a component in the hole of another has no external contour


@pytest.mark.parametrize("pixels", [*WINDOWS, RING_AND_DOT], ids=range(len(WINDOWS) + 1))
def test_the_largest_component_is_scipys(pixels: np.ndarray) -> None:
    labels, count = ndimage.label(pixels, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = largest_component(pixels.copy())
    assert kept.dtype == np.uint8
    assert (pixels[kept > 0] == 1).all()
    assert kept.sum() == (areas.max() if count else 0)
    assert ndimage.label(kept, np.ones((3, 3)))[1] == min(count, 1)
