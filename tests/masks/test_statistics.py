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
    assert found.largest_share == 1.0
    assert found.spread == pytest.approx(2 / np.sqrt(np.pi), rel=0.02)
    assert found.border_distance == pytest.approx(39 / 200, abs=0.006)
    assert found.solidity > 0.97
    assert found.elongation > 0.97


def test_rectangle_has_known_shape() -> None:
    mask = np.zeros((100, 150), bool)
    mask[20:30, 10:70] = True
    found = mask_statistics(mask)
    # The contour runs through the centres of the outermost pixels: 9 by 59.
    assert found.area_ratio == pytest.approx(600 / 100 / 150)
    assert found.elongation == pytest.approx(9 / 59)
    assert found.solidity == pytest.approx(1.0)
    assert found.compactness == pytest.approx(4 * np.pi * 9 * 59 / 136**2)
    assert found.spread == pytest.approx(1.0)
    assert found.border_distance == pytest.approx(10 / 100)


def test_shape_agrees_with_opencv_as_anyone_would_call_it() -> None:
    profile = load_profile("pal")
    for index in range(20):
        mask = generate_mask(profile, keyed_generator(3, "mask", "oracle", index), 120, 150)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        contours, _ = cv2.findContours(
            (labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        area, length = cv2.contourArea(contours[0]), cv2.arcLength(contours[0], closed=True)
        found = mask_statistics(mask)
        sides = sorted(cv2.minAreaRect(contours[0])[1])
        assert found.compactness == pytest.approx(4 * np.pi * area / length**2)
        assert found.solidity == pytest.approx(area / cv2.contourArea(cv2.convexHull(contours[0])))
        assert found.elongation == pytest.approx(sides[0] / sides[1], rel=1e-4)


def test_rough_edges_are_rough() -> None:
    y, x = np.mgrid[:200, :200] - 100.0
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    found = [
        mask_statistics(radius < 60 + depth * np.sin(40 * angle)).roughness for depth in (0, 2, 8)
    ]
    assert found[0] < 0.08
    assert found[0] < found[1] - 0.03
    assert found[1] < found[2] - 0.1


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
        assert 0 <= value <= 1


def test_components_agree_with_scikit_image() -> None:
    profile = load_profile("pal")
    for index in range(20):
        mask = generate_mask(profile, keyed_generator(1, "mask", "label", index), 96, 96)
        assert mask_statistics(mask).num_components == label(mask, connectivity=2).max()


def test_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        mask_statistics(np.zeros((4, 4), bool))
