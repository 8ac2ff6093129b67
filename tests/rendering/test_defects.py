import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.draws import keyed_generator
from rba.masks.generator import generate_mask
from rba.masks.profile import load_profile
from rba.rendering.defects import CONTRAST, DEFECTS, make_defect, make_defect_of
from rba.rendering.glyphs import Glyphs
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


@pytest.mark.parametrize("kind", DEFECTS)
def test_each_kind_is_seen_inside_its_mask_only(kind: str) -> None:
    mask = np.zeros((240, 320), bool)
    mask[100:150, 90:170] = True
    after, found = make_defect_of([kind], PHOTO, mask, np.random.default_rng(1))
    assert found in (kind, CONTRAST)
    np.testing.assert_array_equal(after[~mask], PHOTO[~mask])
    assert np.abs(after[mask].astype(int) - PHOTO[mask]).mean() >= 22


def test_kinds_differ_and_most_are_seen_where_there_is_a_pattern() -> None:
    pattern = np.kron(np.random.default_rng(0).integers(0, 2, (20, 20)), np.ones((5, 5)))
    image = np.repeat(pattern[..., None] * 255, 3, axis=2).astype(np.uint8)
    image[..., 1] //= 3
    mask = np.zeros((100, 100), bool)
    mask[30:60, 30:60] = True
    made = {k: make_defect_of([k], image, mask, np.random.default_rng(2)) for k in DEFECTS}
    assert [kind for kind, (_, found) in made.items() if found != kind] == []
    assert len({after.tobytes() for after, _ in made.values()}) == len(DEFECTS)


def test_the_next_kind_is_taken_where_one_cannot_be_seen() -> None:
    flat = np.full((60, 60, 3), 90, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    rng = np.random.default_rng(0)
    assert make_defect_of(["blurred", "mark_wrong"], flat, mask, rng)[1] == "mark_wrong"
    assert make_defect_of(["blurred"], flat, mask, rng)[1] == CONTRAST
    with pytest.raises(ValueError, match=r"unknown kinds of defects \['melted'\]"):
        make_defect_of(["melted"], flat, mask, rng)


def test_wrong_marks_are_of_the_given_glyphs() -> None:
    flat = np.full((60, 60, 3), 90, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    given = (Glyphs(letters="A", corners=(3,)), Glyphs(letters="W", corners=(8,)))
    made = [
        [
            make_defect_of(["mark_wrong"], flat, mask, np.random.default_rng(n), one)[0]
            for n in range(6)
        ]
        for one in given
    ]
    differ = [not np.array_equal(one, other) for one, other in zip(*made, strict=True)]
    assert sum(differ) >= 3  # patterns have no letters
