"""Shapes of the pixel grid: taken whole where a group has many of them, and nowhere else."""

import cv2
import numpy as np
import pytest

from rba.draws import keyed_generator
from rba.masks.catalogue import ShapeTarget
from rba.masks.generator import generate_mask
from rba.masks.grid_shapes import find_grid_shape, grid_shapes
from rba.masks.groups import MaskGroup, MaskProfile, Quantiles
from rba.masks.statistics import mask_statistics

RADIUS = 7
SIZE = (256, 256)


def constant(value: float) -> Quantiles:
    return ((0.0, value), (1.0, value))


def disc() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (100, 90), RADIUS, 1, cv2.FILLED)
    return mask > 0


def disc_group(components: int, **other: Quantiles) -> MaskGroup:
    """Clusters whose largest component is always the same disc."""
    found = mask_statistics(disc())
    share = 1.5 / components if components > 1 else 1.0
    quantiles = {
        "area_ratio": constant(found.area_ratio / share),
        "num_components": constant(components),
        "largest_share": constant(share),
        "spread": constant(6.0),
        "compactness": constant(found.compactness),
        "solidity": constant(found.solidity),
        "elongation": constant(found.elongation),
        "roughness": constant(found.roughness),
        "border_distance": constant(0.2),
    }
    return MaskGroup(weight=1.0, quantiles=quantiles | other)


def target(group: MaskGroup) -> ShapeTarget:
    values = {name: group.quantiles[name][0][1] for name in ("compactness", "solidity")}
    return ShapeTarget(**values, elongation=1.0, roughness=0.0)


def rng(index: int = 0) -> np.random.Generator:
    return keyed_generator(0, "mask", "grid", index)


@pytest.mark.parametrize("components", [1, 8])
def test_a_population_of_one_disc_is_made_of_that_disc(components: int) -> None:
    profile = MaskProfile(name="discs", groups=(disc_group(components),))
    wanted = mask_statistics(disc())
    for index in range(10):
        mask = generate_mask(profile, rng(index), *SIZE)
        found = mask_statistics(mask)
        assert (found.compactness, found.solidity, found.elongation) == pytest.approx(
            (wanted.compactness, wanted.solidity, wanted.elongation)
        )
        assert found.num_components == components
        drawn = profile.groups[0].quantiles["area_ratio"][0][1] * mask.size
        assert abs(int(mask.sum()) - drawn) <= max(4, 0.05 * drawn)


def test_shapes_measure_as_masks_do() -> None:
    shapes = grid_shapes()
    for index in range(0, len(shapes.rasters), 97):
        found = mask_statistics(np.pad(shapes.rasters[index], 3) > 0)
        values = (found.compactness, found.solidity, found.elongation)
        assert tuple(shapes.values[index]) == pytest.approx(values)
        assert shapes.areas[index] == shapes.rasters[index].sum()


def test_where_values_are_spread_or_areas_far_there_is_none() -> None:
    group, area = disc_group(1), int(disc().sum())
    assert find_grid_shape(group, target(group), (area, area), SIZE, rng()) is not None
    assert find_grid_shape(group, target(group), (40 * area, 40 * area), SIZE, rng()) is None
    spread = disc_group(1, compactness=((0.0, 0.6), (1.0, 0.9)))
    assert find_grid_shape(spread, target(spread), (area, area), SIZE, rng()) is None


def test_the_profile_that_ships_needs_none() -> None:
    from rba.masks.profile import load_profile

    assert not any(group.repeats_shapes for group in load_profile("pal").groups)
