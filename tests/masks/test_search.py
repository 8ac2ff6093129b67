import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.masks.catalogue import ShapeTarget, catalogue, shape_coordinates, shape_from_coordinates
from rba.masks.filling import Cut
from rba.masks.raster import largest_component, put, settle_area, trimmed
from rba.masks.search import find_shape
from rba.masks.shapes import FAMILIES, NUM_POINTS, Traits, draw_form
from rba.masks.statistics import mask_statistics

ALL = dict.fromkeys(FAMILIES, 1.0)


def evenly(compactness: float, solidity: float, elongation: float) -> np.ndarray:
    """Ranks in a population in which everything between 0 and 1 is as likely."""
    return np.array([compactness, solidity, elongation])


@pytest.mark.parametrize("family", FAMILIES)
def test_outlines_answer_to_their_knobs(family: str) -> None:
    areas, solidities = [], []
    for seed, bend in itertools.product(range(12), (0.0, 1.3)):
        rng = np.random.default_rng(seed)
        traits = Traits(family=family, bend=bend, fray=0.0, detail=rng.random(), softness=0.5)
        form = draw_form(traits, rng)
        outline = form.outline(bend, 2.5 if family == "stroke" else 0.0)
        assert outline.shape == (NUM_POINTS,)
        contour = np.stack([outline.real, outline.imag], 1).astype(np.float32)[:, None]
        areas.append(cv2.contourArea(contour))
        solidities.append(areas[-1] / cv2.contourArea(cv2.convexHull(contour)))
    assert min(areas) > 0
    assert np.mean(solidities[::2]) > np.mean(solidities[1::2]) + 0.03


def test_catalogue_covers_what_masks_look_like() -> None:
    rng = np.random.default_rng(0)
    for compactness, solidity, elongation in (
        (0.02, 0.5, 0.1),
        (0.1, 0.3, 0.6),
        (0.3, 0.7, 0.7),
        (0.5, 0.95, 0.4),
        (0.85, 0.98, 0.95),
    ):
        target = ShapeTarget(
            compactness=compactness, solidity=solidity, elongation=elongation, roughness=0.1
        )
        index = catalogue().pick(target.off_grid(3000.0), ALL, rng)
        assert 0 <= index < len(catalogue().traits)
        shape = find_shape(target, 3000.0, evenly, ALL, rng, room=(512, 512))
        found = mask_statistics(shape.raster(3000.0).astype(bool))
        assert found.compactness == pytest.approx(compactness, abs=0.1)
        assert found.solidity == pytest.approx(solidity, abs=0.1)
        assert found.elongation == pytest.approx(elongation, abs=0.04)


def test_only_wanted_families_are_picked() -> None:
    target = ShapeTarget(compactness=0.2, solidity=0.6, elongation=0.4, roughness=0.1)
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        picks = [catalogue().pick(target, {family: 2.0}, rng) for _ in range(20)]
        assert {catalogue().traits[k].family for k in picks} == {family}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_coordinates_are_undone(compactness: float, solidity: float, elongation: float) -> None:
    there = shape_coordinates(compactness, solidity, elongation)
    back = shape_from_coordinates(there)
    assert back == pytest.approx((compactness, solidity, elongation), abs=1e-9)


@pytest.mark.parametrize("side", range(4))
def test_a_cut_leaves_a_straight_side(side: int) -> None:
    target = ShapeTarget(compactness=0.7, solidity=0.95, elongation=0.7, roughness=0.05)
    shape = find_shape(
        target,
        2000.0,
        evenly,
        ALL,
        np.random.default_rng(side),
        room=(256, 256),
        cut=Cut(side=side, share=0.4),
    )
    window = shape.raster(2000.0)
    rims = (window[:, 0], window[0], window[:, -1], window[-1])
    lengths = [int(rim.sum()) for rim in rims]
    assert int(np.argmax(lengths)) == side
    assert lengths[side] > 20


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.9), st.booleans())
def test_area_is_settled_among_allowed_pixels(seed: int, share: float, bounded: bool) -> None:
    rng = np.random.default_rng(seed)
    window = np.zeros((40, 50), np.uint8)
    cv2.circle(window, (25, 20), int(rng.integers(1, 18)), 1, -1)
    allowed = rng.random(window.shape) < 0.8 if bounded else np.ones(window.shape, bool)
    window &= allowed.view(np.uint8)
    window[20, 25] = allowed[20, 25] = 1
    pixels = max(int(share * allowed.sum()), 1)
    settled = settle_area(window, pixels, allowed if bounded else None)
    assert abs(int(settled.sum()) - pixels) <= max(0.025 * pixels, 2)
    assert set(np.unique(settled)) <= {0, 1}
    assert not (settled.astype(bool) & ~allowed).any()
    # It only grew, or only shrank.
    assert not (settled.any() and (settled > window).any() and (settled < window).any())


def test_windows_are_put_and_trimmed() -> None:
    window = np.zeros((6, 7), np.uint8)
    window[1, 1] = window[2:5, 3:5] = 1
    assert trimmed(largest_component(window)).shape == (3, 2)
    image = np.zeros((5, 5), np.uint8)
    where, part = put(np.ones((3, 3), np.uint8), (-1, 4), (5, 5))
    image[where] = part
    assert image.sum() == 2
    assert image[:2, 4].all()


@pytest.mark.parametrize("radius", [12, 20, 40])
def test_discs_are_met_exactly(radius: int) -> None:
    disc = cv2.circle(np.zeros((100, 100), np.uint8), (50, 50), radius, 1, -1).astype(bool)
    wanted = mask_statistics(disc)
    target = ShapeTarget(
        compactness=wanted.compactness, solidity=wanted.solidity, elongation=1.0, roughness=0.06
    )
    pixels = float(disc.sum())
    rng = np.random.default_rng(0)
    shape = find_shape(target, pixels, evenly, ALL, rng, room=(100, 100))
    found = mask_statistics(shape.raster(pixels).astype(bool))
    assert found.elongation == pytest.approx(1.0, abs=1e-6)
    assert found.compactness == pytest.approx(wanted.compactness, abs=0.05)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_straight_lines_are_met(width: int) -> None:
    line = cv2.line(np.zeros((200, 200), np.uint8), (20, 30), (170, 90), 1, width).astype(bool)
    wanted = mask_statistics(line)
    target = ShapeTarget(
        compactness=wanted.compactness,
        solidity=wanted.solidity,
        elongation=wanted.elongation,
        roughness=wanted.roughness,
    )
    shape = find_shape(
        target, float(line.sum()), evenly, ALL, np.random.default_rng(1), room=(200, 200)
    )
    found = mask_statistics(shape.raster(float(line.sum())).astype(bool))
    assert found.compactness == pytest.approx(wanted.compactness, abs=0.01)
    assert found.elongation == pytest.approx(wanted.elongation, abs=0.015)
