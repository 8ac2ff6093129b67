import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.draws import keyed_generator
from rba.masks.generator import generate_mask
from rba.masks.profile import load_profile
from rba.rendering.defects import make_defect
from rba.rendering.textures import load_textures

PAL = load_profile("pal")
PHOTO = load_textures(None, "all")["coffee"][:240, :320]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_bit_equal_outside_and_visible_inside(index: int) -> None:
    mask = generate_mask(PAL, keyed_generator(0, "mask", "defect", index), 240, 320)
    before = PHOTO.copy()
    after = make_defect(PHOTO, mask, keyed_generator(0, "defect", "test", index))
    np.testing.assert_array_equal(PHOTO, before)
    assert after.dtype == np.uint8
    np.testing.assert_array_equal(after[~mask], PHOTO[~mask])
    assert np.abs(after[mask].astype(int) - PHOTO[mask]).mean() >= 22


def test_same_state_same_defect() -> None:
    mask = np.zeros((240, 320), bool)
    mask[100:140, 90:160] = True
    one, two, other = (make_defect(PHOTO, mask, np.random.default_rng(s)) for s in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_defect_shows_on_a_flat_image(value: int) -> None:
    flat = np.full((40, 50, 3), value, np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[10, 10] = True
    after = make_defect(flat, mask, np.random.default_rng(0))
    assert np.abs(after[10, 10].astype(int) - value).min() >= 22
    assert (after[~mask] == value).all()


@pytest.mark.parametrize("place", [(0, 0), (29, 19), (15, 0)])
def test_masks_at_the_border_and_over_everything(place: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 20, 3)).astype(np.uint8)
    mask = np.zeros((30, 20), bool)
    mask[place] = True
    for chosen in (mask, np.ones_like(mask), mask | (np.arange(20) == 3)):
        after = make_defect(image, chosen, np.random.default_rng(3))
        assert after.shape == image.shape
        assert (after[~chosen] == image[~chosen]).all()
        assert (after[chosen] != image[chosen]).any()


def test_bad_masks_are_refused() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    for mask in (np.zeros((8, 8), bool), np.ones((4, 8), bool)):
        with pytest.raises(ValueError, match="artifact mask"):
            make_defect(image, mask, np.random.default_rng(0))
