"""Post-processing on made maps: spikes, blobs, ties, flat maps, nothing left."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from rba.attention.region import RegionSettings, correspondence_mask


def made_map(*blobs: tuple[slice, slice, float], base: float = 0.02, side: int = 16) -> np.ndarray:
    values = np.full((side, side), base)
    for rows, columns, height in blobs:
        values[rows, columns] = height
    return values


BLOB = (slice(5, 8), slice(6, 10), 1.0)


def blob_mask() -> np.ndarray:
    mask = np.zeros((16, 16), bool)
    mask[5:8, 6:10] = True
    return mask


def test_one_blob_is_found_exactly() -> None:
    result = correspondence_mask(made_map(BLOB))
    assert np.array_equal(result.mask, blob_mask())
    assert not result.fallback
    assert 0.3 <= result.threshold < 1.0
    assert 0.5 < result.confidence <= 1.0


@pytest.mark.parametrize("row", [0, 7, 15])
@pytest.mark.parametrize("column", [0, 3, 15])
@pytest.mark.parametrize("height", [1.1, 50.0])
def test_spikes_in_corners_borders_and_inside_are_removed(
    row: int, column: int, height: float
) -> None:
    values = made_map(BLOB)
    values[row, column] = height
    result = correspondence_mask(values)
    assert np.array_equal(result.mask, blob_mask())
    assert result.filtered[row, column] < 0.1


def test_corner_spikes_of_two_cells_do_not_win() -> None:
    values = made_map(BLOB)
    values[0, 0] = values[0, 1] = 1.2
    assert np.array_equal(correspondence_mask(values).mask, blob_mask())


def test_a_blob_on_the_border_is_kept() -> None:
    values = made_map((slice(0, 3), slice(0, 4), 1.0))
    expected = np.zeros((16, 16), bool)
    expected[:3, :4] = True
    assert np.array_equal(correspondence_mask(values).mask, expected)


def test_a_thin_stroke_is_no_row_of_spikes() -> None:
    values = made_map()
    steps = np.arange(3, 12)
    values[steps, steps] = 1.0 + 0.05 * (steps % 2)
    result = correspondence_mask(values)
    assert result.mask[steps, steps].all()
    assert result.mask.sum() == len(steps)


def test_larger_of_two_blobs_wins_even_when_it_is_weaker() -> None:
    small = (slice(1, 3), slice(1, 3), 1.0)
    large = (slice(8, 12), slice(8, 12), 0.8)
    mask = correspondence_mask(made_map(small, large)).mask
    assert mask[8:12, 8:12].all()
    assert mask.sum() == 16


def test_a_tie_in_area_goes_to_more_mass() -> None:
    first = (slice(2, 4), slice(2, 4), 0.9)
    second = (slice(10, 12), slice(10, 12), 1.0)
    for blobs in ((first, second), (second, first)):
        mask = correspondence_mask(made_map(*blobs)).mask
        assert mask[10:12, 10:12].all()
        assert mask.sum() == 4


def test_diagonal_neighbours_are_one_component() -> None:
    blobs = [(slice(i, i + 2), slice(i, i + 2), 1.0) for i in (4, 6, 8)]
    assert correspondence_mask(made_map(*blobs)).mask.sum() == 12


def test_blob_off_the_object_is_dropped() -> None:
    noise = (slice(0, 6), slice(0, 6), 1.0)
    match = (slice(10, 12), slice(10, 13), 0.9)
    cells = np.zeros((16, 16), bool)
    cells[7:, 7:] = True
    result = correspondence_mask(made_map(noise, match), cells)
    assert result.mask[10:12, 10:13].all()
    assert result.mask.sum() == 6
    assert not result.fallback


def test_nothing_left_gives_the_whole_object_and_says_so() -> None:
    cells = np.zeros((16, 16), bool)
    cells[12:, 12:] = True
    result = correspondence_mask(made_map(BLOB), cells)
    assert result.fallback
    assert np.isnan(result.threshold)
    assert np.array_equal(result.mask, cells)


@pytest.mark.parametrize("level", [0.0, 1e-12, 1.0 / 256])
def test_flat_maps_fall_back(level: float) -> None:
    result = correspondence_mask(np.full((16, 16), level))
    assert result.fallback
    assert result.mask.all()


def test_a_map_of_nothing_but_one_spike_falls_back() -> None:
    values = np.zeros((16, 16))
    values[4, 4] = 1.0
    assert correspondence_mask(values).fallback
    kept = correspondence_mask(values, settings=RegionSettings(spike_ratio=np.inf))
    assert kept.mask[4, 4]
    assert kept.mask.sum() == 1


def test_threshold_is_at_least_the_share_of_the_maximum() -> None:
    values = made_map(BLOB, (slice(10, 13), slice(2, 14), 0.28), base=0.0)
    assert np.array_equal(correspondence_mask(values).mask, blob_mask())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_bad_values_are_refused(bad: float) -> None:
    values = made_map(BLOB)
    values[3, 3] = bad
    with pytest.raises(ValueError, match="1 of 256 values"):
        correspondence_mask(values)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="n x n"):
        correspondence_mask(np.ones((4, 5)))
    with pytest.raises(ValueError, match="object cells"):
        correspondence_mask(np.ones((4, 4)), np.zeros((4, 4), bool))


def test_a_single_cell_grid_works() -> None:
    assert correspondence_mask(np.ones((1, 1))).mask.all()


@settings(max_examples=60, deadline=None)
@given(
    numpy_strategies.arrays(np.float64, (8, 8), elements=st.floats(0, 1e3, width=32)),
    st.sampled_from([1e-6, 0.125, 1.0, 512.0]),
)
def test_never_empty_always_on_the_object_and_blind_to_scale(
    values: np.ndarray, scale: float
) -> None:
    cells = np.zeros((8, 8), bool)
    cells[2:7, 1:6] = True
    before = values.copy()
    result = correspondence_mask(values, cells)
    assert result.mask.any()
    assert not (result.mask & ~cells).any()
    assert 0.0 <= result.confidence <= 1.0 + 1e-9
    assert np.array_equal(values, before)
    if scale == 512.0:
        assert np.array_equal(result.mask, correspondence_mask(values * scale, cells).mask)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RegionSettings().spike_ratio = 1.0  # type: ignore[misc]


def test_uncleaned_keeps_whatever_is_above_the_threshold() -> None:
    values = np.full((16, 16), 0.01)
    values[4:8, 4:8] = 0.8  # a blob on the object
    values[15, 15] = 1.0  # a lone spike in the corner
    values[10:12, 4:6] = 0.7  # a smaller blob off the object
    on_object = np.zeros((16, 16), bool)
    on_object[:9] = True
    cleaned = correspondence_mask(values, on_object)
    assert cleaned.mask.sum() == 16
    raw = correspondence_mask(values, on_object, RegionSettings(clean=False))
    assert np.array_equal(raw.mask, values > 0.5)
    assert not raw.fallback
    assert raw.confidence == pytest.approx(values[values > 0.5].sum() / values.sum())
    flat = correspondence_mask(np.ones((16, 16)), on_object, RegionSettings(clean=False))
    assert flat.fallback
    assert np.array_equal(flat.mask, on_object)
