"""From a raw correspondence map to one clean region of the reference (paper, appendix A.4).

A.4 names the steps: a noise filter by peak detection, clustering, keep the largest blob. The
recipe behind each step is ours and every number of it a setting.
"""

import dataclasses
import statistics

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

_RING = np.ones((3, 3), np.float64)
_RING[1, 1] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """Numbers of the recipe.

    Attributes:
        spike_ratio: A local maximum above this times the mean of its neighbours is noise,
        spike_support: ... unless this many neighbours reach half its height: a thin stroke, such as
            a strap, is no spike.
        ring_support: A cell of the outer ring with fewer neighbours above the threshold is noise.
        minimum_threshold: Lower bound of Otsu's threshold, as a share of the map's maximum.
        clean: False keeps every cell above that threshold as it is, on the object or off it: no
            noise filter, no clustering (the ablation of A.4).
    """

    spike_ratio: float = 3.0
    spike_support: int = 1
    ring_support: int = 2
    minimum_threshold: float = 0.3
    clean: bool = True


DEFAULT_SETTINGS = RegionSettings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionResult:
    """One region on the reference's n x n token grid.

    Attributes:
        mask: n x n bool, never empty.
        fallback: Nothing was left, so ``mask`` is the whole object.
        threshold: The threshold that was used, as a share of the maximum; NaN after a fallback.
        filtered: n x n float64, the map without spikes, maximum 1 (or all 0).
        confidence: Share of the filtered map's mass on the object that lies in ``mask``, in [0, 1].
    """

    mask: np.ndarray
    fallback: bool
    threshold: float
    filtered: np.ndarray
    confidence: float


def correspondence_mask(
    correspondence_map: np.ndarray,
    object_cells: np.ndarray | None = None,
    settings: RegionSettings = DEFAULT_SETTINGS,
) -> RegionResult:
    """Turn a raw correspondence map into the correspondence mask ([0] A.4).

    Args:
        correspondence_map: n x n, finite and >= 0; its scale does not matter.
        object_cells: n x n bool, the cells that the reference object touches; None = all. Cells off
            the object are dropped before the largest blob is chosen, so that a blob of background
            noise cannot push out the match.
        settings: Numbers of the recipe.

    Returns:
        The largest 8-connected component above the threshold; a tie goes to the one with more mass.

    Raises:
        ValueError: If the map holds NaN, infinity or a negative number, is not square, or the
            object is empty or of another size.

    [0] Refine-by-Align, appendix A.4.
    """
    values = _checked(correspondence_map)
    cells = np.ones(values.shape, bool) if object_cells is None else object_cells.astype(bool)
    if cells.shape != values.shape or not cells.any():
        raise ValueError(f"object cells {cells.shape} are empty or do not fit map {values.shape}")
    if not settings.clean:
        return _uncleaned(_scaled(values), cells, settings.minimum_threshold)
    filtered = _scaled(_without_spikes(_scaled(values), settings))
    threshold = _threshold(filtered, settings.minimum_threshold)
    filtered = _without_lone_ring_cells(filtered, threshold, settings.ring_support)
    if np.ptp(filtered) > 1e-6:
        filtered = _scaled(filtered)
        threshold = _threshold(filtered, settings.minimum_threshold)
        mask = _largest_component((filtered > threshold) & cells, filtered)
        if mask.any():
            share = float(filtered[mask].sum() / filtered[cells].sum())
            return RegionResult(
                mask=mask, fallback=False, threshold=threshold, filtered=filtered, confidence=share
            )
    return _nothing_left(cells, filtered)


def _uncleaned(values: np.ndarray, cells: np.ndarray, minimum: float) -> RegionResult:
    """Keep every cell above the threshold."""
    if np.ptp(values) <= 1e-6:
        return _nothing_left(cells, values)
    threshold = _threshold(values, minimum)
    mask = values > threshold
    share = float(values[mask].sum() / values.sum())
    return RegionResult(
        mask=mask, fallback=False, threshold=threshold, filtered=values, confidence=share
    )


def _nothing_left(cells: np.ndarray, filtered: np.ndarray) -> RegionResult:
    return RegionResult(
        mask=cells, fallback=True, threshold=float("nan"), filtered=filtered, confidence=0.0
    )


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"a correspondence map is n x n, got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        bad = int((~np.isfinite(values) | (values < 0)).sum())
        raise ValueError(f"{bad} of {values.size} values of the map are not finite or negative")
    return values


def _scaled(values: np.ndarray) -> np.ndarray:
    """Divide by the maximum; an all-zero map stays."""
    maximum = values.max()
    return values / maximum if maximum > 0 else values.copy()


def _neighbour_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the up to 8 neighbours of each cell (fewer at the border)."""
    total = ndimage.convolve(values, _RING, mode="constant")
    count = ndimage.convolve(np.ones_like(values), _RING, mode="constant")
    return total / np.maximum(count, 1.0)


def _neighbour_median(values: np.ndarray, row: int, column: int) -> float:
    """Return the median of the up to 8 neighbours of one cell."""
    window = values[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].ravel().tolist()
    window.remove(values[row, column])
    return statistics.median(window) if window else 0.0


def _replaced(values: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Replace the noisy cells by the median of their neighbours in ``values``."""
    result = values.copy()
    for row, column in np.argwhere(noisy):
        result[row, column] = _neighbour_median(values, int(row), int(column))
    return result


def _without_spikes(values: np.ndarray, settings: RegionSettings) -> np.ndarray:
    """Replace local maxima that stand out alone by the median of their neighbours."""
    padded = np.pad(values, 1)
    offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    height, width = values.shape
    neighbours = np.stack([padded[r : r + height, c : c + width] for r, c in offsets])
    peak = (values > 0) & (values >= neighbours.max(axis=0))
    alone = (neighbours >= values / 2).sum(axis=0) < settings.spike_support
    spike = values / settings.spike_ratio > _neighbour_mean(values)
    return _replaced(values, peak & alone & spike)


def _without_lone_ring_cells(values: np.ndarray, threshold: float, support: int) -> np.ndarray:
    """Replace cells of the outer ring that have too few neighbours above the threshold."""
    above = values > threshold
    ring = np.ones(values.shape, bool)
    ring[1:-1, 1:-1] = False
    neighbours = ndimage.convolve(above.astype(np.float64), _RING, mode="constant")
    return _replaced(values, ring & above & (neighbours < support))


def _threshold(values: np.ndarray, minimum: float) -> float:
    """Return Otsu's threshold of a map with maximum 1, at least ``minimum``."""
    return max(float(threshold_otsu(values)), minimum)


def _largest_component(cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Keep the largest 8-connected component; a tie goes to the one with more mass."""
    labels: np.ndarray = np.zeros(cells.shape, np.int32)
    count = int(ndimage.label(cells, structure=np.ones((3, 3)), output=labels))  # pyright: ignore
    if count == 0:
        return cells
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    masses = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count + 1)[1:]
    best = max(range(count), key=lambda index: (areas[index], masses[index]))
    return labels == best + 1
