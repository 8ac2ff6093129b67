"""Cases of the sweeps: one thing changes, the rest stays, and what is right is known."""

import dataclasses

import numpy as np
import pytest

from rba.errors import InputError
from rba.evaluation.sweep_cases import Condition, SweepCase, SweepRenderer, SweepSettings
from rba.rendering.crowding import occlude, repeat

EASY = Condition()


@pytest.fixture(scope="module")
def renderer() -> SweepRenderer:
    return SweepRenderer(SweepSettings(size=96, split="heldout"))


def at(renderer: SweepRenderer, **changed: float) -> SweepCase:
    return renderer.render(dataclasses.replace(EASY, **changed), 1)


def test_a_case_is_a_function_of_condition_and_number(renderer: SweepRenderer) -> None:
    one, again = at(renderer), at(renderer)
    np.testing.assert_array_equal(one.case.image, again.case.image)
    other = renderer.render(EASY, 2)
    assert not np.array_equal(one.case.image, other.case.image)
    outside = ~one.case.artifact_mask
    assert one.case.truth is not None
    np.testing.assert_array_equal(one.case.image[outside], one.case.truth[outside])


def test_what_a_sweep_does_not_vary_stays(renderer: SweepRenderer) -> None:
    easy = at(renderer).case
    for changed in ({"light": 1.0}, {"texture_difference": 0.6}):
        made = at(renderer, **changed).case
        np.testing.assert_array_equal(made.references[0], easy.references[0])
        np.testing.assert_array_equal(made.artifact_mask, easy.artifact_mask)
        assert not np.array_equal(made.truth, easy.truth)
    hidden = at(renderer, occlusion=0.5).case
    np.testing.assert_array_equal(hidden.image, easy.image)
    np.testing.assert_array_equal(hidden.correspondence_mask, easy.correspondence_mask)


def test_the_mask_has_the_area_that_is_asked_for(renderer: SweepRenderer) -> None:
    pixels = 96 * 96
    for area in (0.005, 0.08):
        found = int(at(renderer, mask_area=area).case.artifact_mask.sum())
        assert found == pytest.approx(area * pixels, rel=0.06, abs=5)


def test_scale_is_the_ratio_of_the_objects(renderer: SweepRenderer) -> None:
    large, small = at(renderer, scale=0.5), at(renderer, scale=2.0)
    sides = []
    for made in (large, small):
        mask = made.case.reference_masks[0]
        assert mask is not None
        sides.append(max(np.ptp(np.flatnonzero(mask.any(axis=axis))) for axis in (0, 1)))
    assert sides[1] / sides[0] == pytest.approx(2.0, rel=0.1)
    assert large.case.artifact_mask.sum() == pytest.approx(
        4 * small.case.artifact_mask.sum(), rel=0.3
    )


def test_the_hidden_share_is_met_and_what_matches_is_seen(renderer: SweepRenderer) -> None:
    easy, hidden = at(renderer).case, at(renderer, occlusion=0.5).case
    whole, left = easy.reference_masks[0], hidden.reference_masks[0]
    assert whole is not None
    assert left is not None
    assert 0.4 <= 1 - left.sum() / whole.sum() <= 0.65
    assert hidden.correspondence_mask is not None
    region = hidden.correspondence_mask >= 0.5
    np.testing.assert_array_equal(hidden.references[0][region], easy.references[0][region])
    assert left[region].all()


def test_equal_objects_are_all_right(renderer: SweepRenderer) -> None:
    one, three = at(renderer), at(renderer, equal_objects=3)
    assert len(three.regions) == 3
    assert three.case.references[0].shape == (192, 192, 3)
    picture = three.case.references[0]
    content = [picture[region] for region in three.regions]
    np.testing.assert_array_equal(content[0], content[2])
    assert not (three.regions[0] & three.regions[1]).any()
    np.testing.assert_array_equal(content[0], one.case.references[0][one.regions[0]])


def test_nothing_is_hidden_where_nothing_is_asked() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    mask = np.ones((40, 40), bool)
    kept = np.zeros_like(mask)
    shown, left = occlude(picture, mask, kept, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(shown, picture)
    assert left.all()


@pytest.mark.parametrize(("count", "shape"), [(1, (4, 6)), (2, (4, 12)), (5, (8, 18))])
def test_copies_lie_side_by_side(count: int, shape: tuple[int, int]) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)
    large, places = repeat(picture, count)
    assert large.shape == shape
    assert len(places) == count
    for place in places:
        np.testing.assert_array_equal(large[place], picture)


@pytest.mark.parametrize(
    "changed",
    [
        {"view_angle": 91},
        {"scale": 0.0},
        {"occlusion": 1.0},
        {"mask_area": 0.9},
        {"equal_objects": 1.5},
    ],
)
def test_conditions_out_of_range_are_named(changed: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(changed))):
        Condition(**changed)  # type: ignore[arg-type]
