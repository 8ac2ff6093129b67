import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.draws import keyed_generator
from rba.masks.generator import generate_mask
from rba.masks.placement import detail_map
from rba.masks.profile import MaskProfile, load_profile
from rba.masks.shapes import FAMILIES
from rba.masks.statistics import MaskStatistics, mask_statistics

PAL = load_profile("pal")


def draw(
    index: int,
    height: int = 256,
    width: int = 256,
    profile: MaskProfile = PAL,
    **options: np.ndarray,
) -> np.ndarray:
    rng = keyed_generator(7, "mask", "test", index)
    return generate_mask(profile, rng, height, width, **options)


def wanted(index: int, profile: MaskProfile = PAL) -> MaskStatistics:
    return profile.draw(keyed_generator(7, "mask", "test", index))[1]


def with_table(name: str, *values: float, **changes: object) -> MaskProfile:
    """PAL with one statistic spread evenly over the values, in all groups."""
    table = tuple(zip(np.linspace(0, 1, len(values)).tolist(), values, strict=True))
    groups = [
        dataclasses.replace(g, quantiles={**g.quantiles, name: table}, **changes)
        for g in PAL.groups
    ]
    return MaskProfile(name="changed", groups=tuple(groups))


def assert_area(mask: np.ndarray, ratio: float) -> None:
    pixels = max(ratio * mask.size, 1)
    assert abs(int(mask.sum()) - pixels) <= max(0.05 * pixels, 4)


def test_same_state_same_mask() -> None:
    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10**6), st.integers(4, 300), st.integers(4, 300))
def test_area_is_the_drawn_one_at_any_size(index: int, height: int, width: int) -> None:
    mask = draw(index, height, width)
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert_area(mask, wanted(index).area_ratio)
    assert 0 < int(mask.sum()) < height * width


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(8, 700), (700, 8), (64, 64), (90, 160), (512, 512)]),
    st.sampled_from([0.0001, 0.5, 0.94]),
    st.sampled_from([1.0, 40.0]),
)
def test_area_is_met_by_the_smallest_and_the_largest(
    index: int, size: tuple[int, int], area: float, components: float
) -> None:
    profile = with_table("area_ratio", area, area)
    profile = dataclasses.replace(
        profile,
        groups=tuple(
            dataclasses.replace(
                g, quantiles={**g.quantiles, "num_components": ((0, components), (1, components))}
            )
            for g in profile.groups
        ),
    )
    assert_area(draw(index, *size, profile), area)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_mask_stays_on_allowed_places(index: int, top: int, left: int, side: int) -> None:
    inside = np.zeros((64, 80), bool)
    inside[top : top + side, left : left + side] = True
    mask = draw(index, 64, 80, inside=inside)
    assert mask.any()
    assert not (mask & ~inside).any()
    pixels = max(min(wanted(index).area_ratio * mask.size, 0.9 * inside.sum()), 1)
    assert abs(int(mask.sum()) - pixels) <= max(0.05 * pixels, 4)


def test_masks_cross_an_objects_edge() -> None:
    disc = cv2.circle(np.zeros((200, 240), np.uint8), (110, 90), 60, 1, -1).astype(bool)
    shares = []
    for index in range(40):
        mask = draw(index, 200, 240, crossing=disc)
        assert_area(mask, wanted(index).area_ratio)
        shares.append((mask & disc).sum() / mask.sum())
    assert np.mean([0 < share < 1 for share in shares]) > 0.9
    assert np.mean([0.2 < share < 0.8 for share in shares]) > 0.6
    assert_area(draw(0, crossing=np.ones((256, 256), bool)), wanted(0).area_ratio)


def test_masks_lie_where_the_image_has_detail() -> None:
    image = np.full((128, 128, 3), 90, np.uint8)
    image[20:50, 80:115] = np.random.default_rng(0).integers(0, 255, (30, 35, 3))
    weights = detail_map(image)
    assert weights.shape == (128, 128)
    assert weights[35, 97] > 0.5
    assert weights[100, 20] < 0.01
    small = PAL.scaled(0.2)
    rows, columns = np.stack(
        [np.argwhere(draw(k, 128, 128, small, detail=weights)).mean(axis=0) for k in range(40)]
    ).T
    assert np.mean((rows > 5) & (rows < 65) & (columns > 65)) > 0.9
    assert detail_map(np.zeros((16, 16), np.uint8)).all(), "an even image is as good everywhere"


def test_population_is_tiny_and_irregular() -> None:
    found = [mask_statistics(draw(index)) for index in range(150)]
    assert np.median([s.area_ratio for s in found]) < 0.04
    # A disc has compactness 0.9; irregular shapes lie far below, and differ among themselves.
    compactness = np.array([s.compactness for s in found])
    assert np.quantile(compactness, 0.9) < 0.8
    assert compactness.std() > 0.1
    assert {s.num_components > 1 for s in found} == {True, False}


def test_shapes_are_the_drawn_ones() -> None:
    drawn = [wanted(index) for index in range(80)]
    found = [mask_statistics(draw(index)) for index in range(80)]
    for name, limit in (("compactness", 0.05), ("solidity", 0.05), ("elongation", 0.03)):
        gaps = [abs(getattr(a, name) - getattr(b, name)) for a, b in zip(drawn, found, strict=True)]
        assert np.median(gaps) < limit
    counts = [(a.num_components, b.num_components) for a, b in zip(drawn, found, strict=True)]
    assert np.mean([a == b for a, b in counts]) > 0.8


def test_masks_lie_everywhere() -> None:
    total = np.mean([draw(index, 64, 64) for index in range(400)], axis=0)
    quarters = [total[:32, :32], total[:32, 32:], total[32:, :32], total[32:, 32:]]
    assert min(q.mean() for q in quarters) > 0.5 * max(q.mean() for q in quarters)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_draws(family: str) -> None:
    profile = with_table("area_ratio", 0.02, 0.1, families={family: 1.0})
    for index in range(10):
        assert_area(draw(index, 128, 96, profile), wanted(index, profile).area_ratio)


@pytest.mark.parametrize(("distance", "touching"), [(0.0, 1.0), (0.1, 0.0)])
def test_distance_to_the_border(distance: float, touching: float) -> None:
    profile = with_table("border_distance", distance, distance).scaled(0.2)
    found = [mask_statistics(draw(k, 128, 160, profile)).border_distance for k in range(40)]
    assert np.mean(np.asarray(found) == 0) == touching
    assert np.median(found) == pytest.approx(distance, abs=0.01)


def test_each_border_is_touched_and_cuts_shapes() -> None:
    profile = with_table("border_distance", 0.0, 0.0).scaled(0.3)
    touched = np.zeros((2, 2), int)
    lengths = []
    for index in range(40):
        mask = draw(index, 128, 128, profile)
        rims = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
        for (axis, end), rim in zip(itertools.product(range(2), range(2)), rims, strict=True):
            touched[axis, end] += bool(rim.any())
        lengths.append(max(int(rim.sum()) for rim in rims))
    assert touched.min() >= 3
    assert np.median(lengths) > 4, "a border that cuts a shape leaves a straight side"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 3, "width": 3}, "too small"),
        ({"inside": np.zeros((32, 32), bool)}, "0 pixels set"),
        ({"inside": np.ones((16, 16), bool)}, "32x32"),
        ({"crossing": np.zeros((32, 32), bool)}, "0 pixels set"),
        ({"detail": np.zeros((32, 32), np.float32)}, "0 pixels set"),
        ({"inside": np.ones((32, 32), bool), "crossing": np.ones((32, 32), bool)}, "one of"),
    ],
)
def test_impossible_requests_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(0, **{"height": 32, "width": 32, **options})
