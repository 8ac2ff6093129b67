"""Fit on one half of given masks, synthesize, compare with the other half.

The given masks are drawn here, by other means than the generator's: PIL's lines, an implicit
function on the pixel grid, scikit-image's polygons.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.draw import polygon2mask

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.fit import fit_profile
from rba.masks.generator import generate_mask
from rba.masks.profile import load_profile, save_profile
from rba.masks.report import distances
from rba.masks.statistics import STATISTICS, MaskStatistics, mask_statistics


def scratches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One to three thin broken lines."""
    picture = Image.new("1", (width, height))
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        corners = int(rng.integers(3, 8))
        step = rng.uniform(0.1, 0.5) * min(height, width) / corners
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, corners))
        path = np.cumsum(step * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
        path += (rng.uniform(0, width), rng.uniform(0, height))
        points = [(float(x), float(y)) for x, y in path]
        ImageDraw.Draw(picture).line(points, fill=1, width=int(rng.integers(1, 6)))
    return np.asarray(picture)


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One round form with a wavy edge."""
    radius = np.exp(rng.normal(np.log(0.07), 0.5)) * min(height, width)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.55, 1)
    x = np.arange(width)[None, :] - rng.uniform(0, width)
    y = np.arange(height)[:, None] - rng.uniform(0, height)
    u = (x * np.cos(turn) + y * np.sin(turn)) / radius
    v = (y * np.cos(turn) - x * np.sin(turn)) / (radius * flat)
    angle, wave = np.arctan2(v, u), rng.uniform(0, 0.12)
    edge = 1 + wave * np.sin(3 * angle + rng.uniform(0, 6)) + wave / 2 * np.sin(5 * angle)
    return np.hypot(u, v) < edge


def fragments(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A cluster of small triangles, quadrangles and pentagons, some overlapping."""
    mask, side = np.zeros((height, width), bool), min(height, width)
    centre = rng.uniform(0.1, 0.9, 2) * (height, width)
    reach = rng.uniform(0.05, 0.2) * side
    for _ in range(int(rng.integers(4, 16))):
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 6))))
        outline = rng.uniform(0.008, 0.045) * side * np.stack([np.cos(angles), np.sin(angles)], 1)
        mask |= polygon2mask((height, width), centre + rng.normal(0, reach, 2) + outline)
    return mask


def discs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A cluster of small discs as a drawing program makes them: few different ones there are."""
    mask, side = np.zeros((height, width), np.uint8), min(height, width)
    centre = rng.uniform(0.1, 0.9, 2) * (width, height)
    reach = rng.uniform(0.05, 0.2) * side
    for _ in range(int(rng.integers(4, 21))):
        x, y = (centre + rng.normal(0, reach, 2)).astype(int).tolist()
        cv2.circle(mask, (x, y), int(rng.integers(2, 9)), 1, cv2.FILLED)
    return mask > 0


def rectangles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A cluster of small upright rectangles."""
    mask, side = np.zeros((height, width), bool), min(height, width)
    centre = rng.uniform(0.1, 0.9, 2) * (width, height)
    reach = rng.uniform(0.05, 0.2) * side
    for _ in range(int(rng.integers(4, 21))):
        x, y = np.maximum(centre + rng.normal(0, reach, 2), 0).astype(int)
        across, down = rng.integers(3, 16, 2)
        mask[y : y + down, x : x + across] = True
    return mask


def mixture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    drawer = (scratches, blobs, fragments)[int(rng.integers(3))]
    return drawer(rng, height, width)


Drawer = Callable[[np.random.Generator, int, int], np.ndarray]


def given_masks(drawer: Drawer, count: int, size: tuple[int, int]) -> list[MaskStatistics]:
    found: list[MaskStatistics] = []
    index = 0
    while len(found) < count:
        mask = drawer(keyed_generator(1, "given", drawer.__name__, index), *size)
        index += 1
        if mask.any():
            found.append(mask_statistics(mask))
    return found


def fitted_and_floor(
    drawer: Drawer, count: int, size: tuple[int, int], path: Path, **options: int
) -> tuple[dict[str, float], dict[str, float]]:
    given = given_masks(drawer, 2 * count, size)
    seen, unseen = given[:count], given[count:]
    save_profile(fit_profile(seen, drawer.__name__, size, **options), path)
    assert path.stat().st_size < 64_000
    profile = load_profile(path)
    made = [
        mask_statistics(generate_mask(profile, keyed_generator(2, "mask", "fit", k), *size))
        for k in range(count)
    ]
    return distances(made, unseen), distances(seen, unseen)


@pytest.mark.parametrize("drawer", [scratches, blobs, fragments])
def test_a_small_fit_follows_the_population(drawer: Drawer, tmp_path: Path) -> None:
    found, _ = fitted_and_floor(drawer, 150, (256, 320), tmp_path / "p.yaml", rounds=0)
    # Two samples of 150 of one population are 0.16 apart at most, 19 times of 20.
    for name in ("area_ratio", "compactness", "solidity", "elongation"):
        assert found[name] < 0.2, (name, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drawer", "size"),
    [
        (scratches, (512, 512)),
        (blobs, (512, 512)),
        (fragments, (512, 512)),
        (discs, (512, 512)),
        (rectangles, (512, 512)),
        (mixture, (512, 512)),
        (mixture, (360, 640)),
    ],
)
def test_a_fit_meets_masks_that_it_has_not_seen(
    drawer: Drawer, size: tuple[int, int], tmp_path: Path
) -> None:
    found, floor = fitted_and_floor(drawer, 1000, size, tmp_path / "p.yaml")
    for name in STATISTICS:
        print(f"{drawer.__name__} {size} {name}: {found[name]:.3f} (halves: {floor[name]:.3f})")
    assert found["area_ratio"] < 0.10
    for name in ("compactness", "solidity", "elongation"):
        assert found[name] < 0.15, (name, found)


def test_a_fit_is_a_pure_function() -> None:
    given = given_masks(fragments, 60, (96, 96))
    one, two = (fit_profile(given, "x", (96, 96), rounds=1, draws=60) for _ in range(2))
    assert one == two
    assert one != fit_profile(given[:-1], "x", (96, 96), rounds=1, draws=60)


def test_groups_are_found_and_weighted() -> None:
    given = given_masks(blobs, 120, (128, 128)) + given_masks(fragments, 60, (128, 128))
    profile = fit_profile(given, "two", (128, 128), rounds=0)
    assert sum(group.weight for group in profile.groups) == pytest.approx(1)
    single = [g.weight for g in profile.groups if dict(g.quantiles["num_components"])[0.5] == 1]
    assert sum(single) == pytest.approx(2 / 3, abs=0.07)


def test_too_few_and_equal_masks() -> None:
    square = np.zeros((64, 64), bool)
    square[20:40, 10:30] = True
    with pytest.raises(InputError, match="19 masks are too few"):
        fit_profile([mask_statistics(square)] * 19, "x", (64, 64))
    profile = fit_profile([mask_statistics(square)] * 200, "x", (128, 128), rounds=1, draws=20)
    mask = generate_mask(profile, keyed_generator(0, "mask", "equal", 0), 128, 128)
    assert mask.mean() == pytest.approx(square.mean(), rel=0.05)
    assert mask_statistics(mask).num_components == 1
