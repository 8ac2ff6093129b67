import cv2
import numpy as np
import pytest
from skimage.measure import label

from rba.draws import keyed_generator
from rba.masks.generator import generate_mask
from rba.masks.profile import load_profile
from rba.masks.statistics import mask_statistics


def test_disc_is_compact_and_solid() -> None:
    mask = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 60, 1, -1).astype(bool)
    found = mask_statistics(mask)
    assert found.num_components == 1
    assert found.area_ratio == pytest.approx(np.pi * 60**2 / 200**2, rel=0.03)
    # The contour of a digital disc is longer than its circle, by up to 8 %.
    assert 0.8 < found.compactness <= 1.0
    assert found.solidity > 0.97
    assert found.elongation > 0.97


def test_rectangle_has_known_shape() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:30, 10:70] = True
    found = mask_statistics(mask)
    assert found.area_ratio == pytest.approx(600 / 100**2)
    assert found.elongation == pytest.approx(10 / 60)
    assert found.solidity == pytest.approx(1.0)
    assert found.compactness == pytest.approx(4 * np.pi * 600 / 140**2, rel=0.06)


def test_shape_is_measured_on_the_largest_component() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:25, 5:25] = True
    alone = mask_statistics(mask)
    mask[40, 30:50] = True
    both = mask_statistics(mask)
    assert both.num_components == 2
    assert both.area_ratio > alone.area_ratio
    assert (both.compactness, both.elongation) == (alone.compactness, alone.elongation)


def test_ring_and_cross_are_less_solid_than_a_square() -> None:
    cross = np.zeros((60, 60), bool)
    cross[28:32, 5:55] = cross[5:55, 28:32] = True
    assert mask_statistics(cross).solidity < 0.45


@pytest.mark.parametrize("pixels", [[(5, 5)], [(5, 5), (5, 6)], [(0, 0), (1, 1), (2, 2)]])
def test_tiny_masks_have_statistics_in_range(pixels: list[tuple[int, int]]) -> None:
    mask = np.zeros((10, 10), bool)
    for row, column in pixels:
        mask[row, column] = True
    found = mask_statistics(mask)
    assert found.num_components == 1
    for value in (found.compactness, found.solidity, found.elongation):
        assert 0 < value <= 1


def test_components_agree_with_scikit_image() -> None:
    profile = load_profile("pal")
    for index in range(20):
        mask = generate_mask(profile, keyed_generator(1, "mask", "label", index), 96, 96)
        assert mask_statistics(mask).num_components == label(mask, connectivity=2).max()


def test_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        mask_statistics(np.zeros((4, 4), bool))
