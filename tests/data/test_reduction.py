import dataclasses

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.jpeg import Jpeg
from rba.data.reduction import (
    REDUCTIONS,
    largest_reduction,
    on_grid,
    reduce_mask,
    reduce_picture,
    reduced_box,
)
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.sample import AlignmentRecord, RecordError, RefinementRecord, pixels
from rba.data.warp import WarpSettings
from rba.geometry import Box, crop

WARP = WarpSettings(rotation=15, scale=(0.9, 1.1), perspective=0.05)


@given(st.floats(0.05, 40))
def test_a_reduction_never_goes_too_far_nor_stops_early(shrinking):
    found = largest_reduction(shrinking)
    assert found == 1 or found <= shrinking
    assert found == max(REDUCTIONS) or 2 * found > shrinking


@given(st.integers(1, 2000), st.integers(1, 500), st.integers(0, 3000), st.integers(0, 3000))
def test_a_square_on_the_grid_still_fills_the_target(side, size, x, y):
    reduction = largest_reduction(side / size)
    box = on_grid(Box(x, y, x + side, y + side), reduction)
    assert box.width == box.height
    assert box.width >= min(side, reduction * size)
    assert 0 <= x - box.x0 < reduction
    assert 0 <= y - box.y0 < reduction
    assert box.x1 <= x + side
    assert box.y1 <= y + side
    small = reduced_box(box, reduction)
    assert [edge * reduction for edge in dataclasses.astuple(small)] == list(
        dataclasses.astuple(box)
    )


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reducing_and_cutting_commute_on_the_grid(make, reduction):
    picture, box = make.picture(65, 83), Box(16, 8, 56, 48)
    np.testing.assert_array_equal(
        crop(reduce_picture(picture, reduction), reduced_box(box, reduction)),
        reduce_picture(crop(picture, box), reduction),
    )
    mask = picture[..., 0] > 128
    assert reduce_mask(mask, reduction).mean() == pytest.approx(mask.mean(), abs=0.1)


def squared_error(a, b):
    return np.mean((a.astype(float) - b) ** 2)


def assert_same_example(lazy, whole):
    """Compare an example of reduced JPEGs with one of whole pictures, averaged over area."""
    assert squared_error(lazy.image, whole.image) < 20  # 35 dB
    assert squared_error(lazy.reference, whole.reference) < 20
    for name in ("artifact_mask", "reference_mask", "correspondence_mask"):
        np.testing.assert_array_equal(getattr(lazy, name), getattr(whole, name))
    assert lazy.correspondence_known == whole.correspondence_known


def asked(monkeypatch):
    """Record at which reductions JPEGs are decoded."""
    found, decode = [], Jpeg.pixels

    def pixels_of(self, reduction=1):
        found.append(reduction)
        return decode(self, reduction)

    monkeypatch.setattr(Jpeg, "pixels", pixels_of)
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_lazy_alignment_examples_are_those_of_whole_photos(recipe, monkeypatch, masked):
    photo = skimage.data.astronaut()[:500]
    mask = None
    if masked:
        mask = cv2.circle(np.zeros(photo.shape[:2], np.uint8), (256, 250), 200, 1, -1) > 0
    members = AlignmentRecord(key="a", image=photo, mask=mask, metadata={}).encode()
    example_of = AlignmentExamples(AlignmentSettings(warp=WARP), recipe)
    reductions = asked(monkeypatch)
    whole = AlignmentRecord.decode("a", members)
    lazy = AlignmentRecord.decode("a", members, lazily=True)
    assert reductions == [1]
    for draw in range(6):
        assert_same_example(example_of(lazy, draw, "s"), example_of(whole, draw, "s"))
    assert set(reductions[1:]) >= {2}
    assert len(reductions) == 1 + 6  # target and reference come of one decoding


def test_lazy_refinement_examples_are_those_of_whole_views(make, recipe, monkeypatch):
    photo = np.ascontiguousarray(skimage.data.astronaut()[:504, :504])
    mask = cv2.circle(np.zeros((504, 504), np.uint8), (250, 250), 230, 1, -1) > 0
    record = RefinementRecord(
        key="b", target=photo, reference=photo, target_mask=mask, reference_mask=mask,
        matches=make.matches(504, 504), metadata={},
    )  # fmt: skip
    members = record.encode()
    settings = RefinementSettings(warp=WARP)
    reductions = asked(monkeypatch)
    whole = RefinementRecord.decode("b", members)
    lazy = RefinementRecord.decode("b", members, lazily=True)
    for complete in (False, True):
        example_of = RefinementExamples(settings, recipe, complete_reference=complete)
        for draw in range(6):
            assert_same_example(example_of(lazy, draw, "s"), example_of(whole, draw, "s"))
    assert set(reductions[2:]) >= {1, 4}


def test_damage_that_shows_late_is_a_fault_of_the_record(make):
    members = make.alignment_record(0).encode()
    cut = members["jpg"][: len(members["jpg"]) // 2] + b"\xff\xd9"
    with pytest.raises(RecordError, match="damaged"):
        AlignmentRecord.decode("0", {**members, "jpg": cut})
    lazy = AlignmentRecord.decode("0", {**members, "jpg": cut}, lazily=True)
    assert lazy.image.shape == (48, 56, 3)
    with pytest.raises(RecordError, match="damaged"):
        pixels(lazy.image)
