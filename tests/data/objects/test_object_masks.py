import cv2
import numpy as np
import pytest

from rba.data.build import DroppedError
from rba.data.objects.masks import guess_mask


def scene(height=180, width=240, seed=0):
    """A textured disc before a smooth background, and where it is."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (90, 140, 180), np.uint8)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    truth = np.zeros((height, width), np.uint8)
    cv2.ellipse(truth, (width // 2 + 10, height // 2), (width // 5, height // 4), 20, 0, 360, 1, -1)
    texture = rng.integers(0, 100, (height // 4, width // 4, 3), np.uint8)
    texture = cv2.resize(texture, (width, height), interpolation=cv2.INTER_NEAREST)
    texture[..., 0] |= 128
    return np.where(truth[..., None] == 1, texture, image), truth == 1


@pytest.mark.parametrize("size", [(180, 240), (600, 400)])
def test_an_object_unlike_its_background_is_found(size):
    image, truth = scene(*size)
    mask = guess_mask(image)
    assert mask.shape == truth.shape
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    np.testing.assert_array_equal(mask, guess_mask(image))


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (64, 64)])
def test_a_picture_without_an_object_is_left_out(size):
    with pytest.raises(DroppedError, match="GrabCut found no object"):
        guess_mask(np.full((*size, 3), 77, np.uint8))
