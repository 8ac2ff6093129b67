import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.draws import keyed_generator
from rba.masks.generator import generate_mask
from rba.masks.profile import FAMILIES, load_profile
from rba.masks.statistics import mask_statistics

PAL = load_profile("pal")


def draw(index: int, height: int = 256, width: int = 256, **options: object) -> np.ndarray:
    rng = keyed_generator(7, "mask", "test", index)
    return generate_mask(PAL, rng, height, width, **options)  # type: ignore[arg-type]


def wanted_area(index: int) -> float:
    return PAL.draw_area(keyed_generator(7, "mask", "test", index))


def test_same_state_same_mask() -> None:
    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(4, 300), st.integers(4, 300))
def test_area_is_the_drawn_one_at_any_size(index: int, height: int, width: int) -> None:
    mask = draw(index, height, width)
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    wanted = wanted_area(index) * height * width
    assert abs(int(mask.sum()) - max(wanted, 1)) <= max(0.05 * wanted, 4)
    assert 0 < int(mask.sum()) < height * width


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_mask_stays_on_allowed_places(index: int, top: int, left: int, side: int) -> None:
    inside = np.zeros((64, 80), bool)
    inside[top : top + side, left : left + side] = True
    mask = draw(index, 64, 80, inside=inside)
    assert mask.any()
    assert not (mask & ~inside).any()


def test_all_places_allowed_keep_the_drawn_area() -> None:
    inside = np.ones((256, 256), bool)
    for index in range(20):
        share = draw(index, inside=inside).mean() / wanted_area(index)
        assert 0.5 < share < 1.01


def test_population_is_tiny_and_irregular() -> None:
    found = [mask_statistics(draw(index)) for index in range(200)]
    assert np.median([s.area_ratio for s in found]) < 0.04
    # A disc has compactness 1; irregular shapes lie far below, and differ among themselves.
    compactness = np.array([s.compactness for s in found])
    assert np.quantile(compactness, 0.9) < 0.8
    assert compactness.std() > 0.1
    assert {s.num_components > 1 for s in found} == {True, False}


def test_masks_lie_everywhere() -> None:
    total = np.mean([draw(index, 64, 64) for index in range(300)], axis=0)
    quarters = [total[:32, :32], total[:32, 32:], total[32:, :32], total[32:, 32:]]
    assert min(q.mean() for q in quarters) > 0.5 * max(q.mean() for q in quarters)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_draws(family: str) -> None:
    profile = dataclasses.replace(PAL, families={family: 1.0})
    for index in range(10):
        mask = generate_mask(profile, keyed_generator(0, "mask", family, index), 128, 96)
        assert 0 < mask.mean() <= 0.5


@pytest.mark.parametrize("border_share", [0.0, 1.0])
def test_border_share(border_share: float) -> None:
    profile = dataclasses.replace(PAL, border_share=border_share)
    touching = 0
    for index in range(60):
        mask = generate_mask(profile, keyed_generator(0, "mask", "border", index), 128, 128)
        rim = mask.copy()
        rim[1:-1, 1:-1] = False
        touching += int(rim.sum() > 4)
    assert touching > 12 if border_share else touching <= 3


def test_impossible_requests_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="too small"):
        generate_mask(PAL, rng, 3, 3)
    with pytest.raises(ValueError, match="0 pixels set"):
        generate_mask(PAL, rng, 32, 32, inside=np.zeros((32, 32), bool))
    with pytest.raises(ValueError, match="32x32"):
        generate_mask(PAL, rng, 32, 32, inside=np.ones((16, 16), bool))
