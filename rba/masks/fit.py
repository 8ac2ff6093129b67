"""Fit a profile to the statistics of given masks: groups that resemble each other, each with
quantiles and rank correlations; then measure what the generator makes of it and correct the aims.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import ndtri
from scipy.stats import rankdata

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.generator import generate_mask
from rba.masks.groups import LIMITS, MaskGroup, MaskProfile, Quantiles
from rba.masks.statistics import STATISTICS, MaskStatistics, mask_statistics

SMALLEST_SET = 20
_MAX_GROUPS = 10
_MASKS_A_GROUP = 50
_NUM_QUANTILES = 21
_GROUPED_BY = (
    "area_ratio",
    "num_components",
    "largest_share",
    "compactness",
    "solidity",
    "elongation",
)
# How far components lie apart is not measured while a mask is made, so a fit corrects it. (Moving
# the aims of the others was tried: what lies at the edge of the possible moves beyond it.)
_CORRECTED = ("spread", "largest_share")
_FEWEST_DRAWN = 30  # of a group, to correct it
_SMALLEST_CORRELATION = 0.05


def fit_profile(
    statistics: Sequence[MaskStatistics],
    name: str,
    size: tuple[int, int],
    *,
    rounds: int = 2,
    draws: int = 800,
) -> MaskProfile:
    """Fit a profile.

    Args:
        statistics: Of the given masks, at least 20.
        name: Of the population.
        size: Height and width in pixels at which aims are corrected: that of the given masks.
        rounds: Of synthesizing and correcting; 0 leaves the aims out.
        draws: Masks of a round, at most eight times the given ones.

    Raises:
        InputError: If there are too few masks.
    """
    if len(statistics) < SMALLEST_SET:
        raise InputError(
            f"{len(statistics)} masks are too few to fit a profile; give at least {SMALLEST_SET}"
        )
    table = np.array([list(s.values().values()) for s in statistics], np.float64)
    labels = _group_labels(table)
    groups = [_fit_group(table[labels == k], len(table)) for k in range(labels.max() + 1)]
    groups.sort(key=lambda group: -group.weight)
    named = tuple(dataclasses.replace(g, name=f"group {k + 1}") for k, g in enumerate(groups))
    profile = MaskProfile(name=name, groups=named)
    for turn in range(rounds):
        profile = _corrected(profile, size, turn, min(draws, 8 * len(statistics)))
    return profile


def _scores(values: np.ndarray, method: str) -> np.ndarray:
    """Normal scores of the ranks in each column."""
    ranks = np.apply_along_axis(rankdata, 0, values, method=method)
    return np.asarray(ndtri((ranks - 0.5) / len(values)))


def _group_labels(table: np.ndarray) -> np.ndarray:
    """Part the masks into groups (k-means on normal scores), numbered without gaps."""
    count = min(max(len(table) // _MASKS_A_GROUP, 1), _MAX_GROUPS)
    scores = _scores(table[:, [STATISTICS.index(name) for name in _GROUPED_BY]], "average")
    scores = scores[:, scores.std(axis=0) > 0]
    if count == 1 or scores.shape[1] == 0:
        return np.zeros(len(table), int)
    rng = keyed_generator(0, "mask groups", "fit", 0)
    _, labels = kmeans2(scores, count, minit="++", rng=rng, missing="warn")
    # Groups too small for quantiles of their own join the one whose centre is nearest.
    sizes = np.bincount(labels, minlength=count)
    kept = np.flatnonzero(sizes >= max(SMALLEST_SET // 2, 1))
    centres = np.stack([scores[labels == k].mean(axis=0) for k in kept])
    gaps = ((scores[:, None] - centres[None]) ** 2).sum(axis=2)
    return gaps.argmin(axis=1)


def _fit_group(table: np.ndarray, total: int) -> MaskGroup:
    probabilities = np.linspace(0.0, 1.0, _NUM_QUANTILES)
    quantiles: dict[str, Quantiles] = {}
    for column, name in zip(table.T, STATISTICS, strict=True):
        values = np.clip(np.quantile(column, probabilities), *LIMITS[name])
        quantiles[name] = _pairs(probabilities, values)
    # Equal values get ranks in random order: a mask's only component says nothing.
    rng = keyed_generator(0, "mask ties", "fit", len(table))
    order = rng.permutation(len(table))
    scores = _scores(table[order], "ordinal")
    matrix = np.corrcoef(scores.T)
    correlations = tuple(
        (STATISTICS[a], STATISTICS[b], float(matrix[a, b]))
        for a in range(len(STATISTICS))
        for b in range(a + 1, len(STATISTICS))
        if abs(matrix[a, b]) >= _SMALLEST_CORRELATION
    )
    return MaskGroup(weight=len(table) / total, quantiles=quantiles, correlations=correlations)


def _pairs(probabilities: np.ndarray, values: np.ndarray) -> Quantiles:
    return tuple(zip(probabilities.tolist(), values.tolist(), strict=True))


def _corrected(profile: MaskProfile, size: tuple[int, int], turn: int, draws: int) -> MaskProfile:
    """Move the aims of each group by what its synthesized masks miss, quantile by quantile."""
    found: dict[int, list[MaskStatistics]] = {k: [] for k in range(len(profile.groups))}
    place_of = {id(group): k for k, group in enumerate(profile.groups)}
    for index in range(draws):
        group, _ = profile.draw(keyed_generator(turn, "mask correction", "fit", index))
        rng = keyed_generator(turn, "mask correction", "fit", index)
        mask = generate_mask(profile, rng, *size)
        found[place_of[id(group)]].append(mask_statistics(mask))
    groups = [
        _with_aims(group, found[k]) if _is_worth_it(found[k]) else group
        for k, group in enumerate(profile.groups)
    ]
    return dataclasses.replace(profile, groups=tuple(groups))


def _is_worth_it(found: Sequence[MaskStatistics]) -> bool:
    several = sum(s.num_components > 1 for s in found)
    return len(found) >= _FEWEST_DRAWN and several > len(found) / 2


def _with_aims(group: MaskGroup, found: Sequence[MaskStatistics]) -> MaskGroup:
    aims = dict(group.aims)
    for name in _CORRECTED:
        probabilities, wanted = np.array(group.quantiles[name]).T
        got = np.quantile([getattr(s, name) for s in found], probabilities)
        asked = np.array(group.aims.get(name, group.quantiles[name]))[:, 1]
        # Quantiles of a few masks are noisy: their misses are smoothed before they are believed.
        missed = np.convolve(np.pad(wanted - got, 2, mode="edge"), np.ones(5) / 5, "valid")
        moved = np.maximum.accumulate(np.clip(asked + 0.8 * missed, *LIMITS[name]))
        aims[name] = _pairs(probabilities, moved)
    return dataclasses.replace(group, aims=aims)
