"""Percentile bootstrap over cases: how far a mean, and a comparison of two means, can be trusted.

Resample number b draws the same cases for every figure of equally many cases, so figures of one
report vary together. A pure function of the seed.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rba.draws import keyed_generator

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A figure over cases with its interval of 95 %.

    Attributes:
        value: The figure itself; NaN of nothing.
        low: 2.5th percentile over the resamples; NaN where a case's figure is not finite, or a
            resample divides 0 by 0.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean over cases and its percentile interval.

    Args:
        values: A figure a case, N of them.
        seed: Keys the resamples.
    """
    cases = np.asarray(values, np.float64)
    if not cases.size:
        return Interval(np.nan, np.nan, np.nan)
    with np.errstate(invalid="ignore"):
        value = float(cases.mean())
    if not np.isfinite(cases).all():
        return Interval(value, np.nan, np.nan)
    return _interval(value, _weights(len(cases), seed) @ cases)


def paired_interval(
    first: Sequence[float],
    second: Sequence[float],
    kind: Literal["difference", "ratio"],
    *,
    seed: int = 0,
) -> Interval:
    """Compare the means of two methods over the same cases; each resample draws cases, not figures.

    Args:
        first: The first method's figure of each case.
        second: The second method's figure of the same cases in the same order.
        kind: ``difference`` = mean of first minus mean of second, ``ratio`` = mean of first over
            mean of second.
        seed: Keys the resamples.

    Raises:
        ValueError: If the numbers of cases differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} cases cannot be paired")
    if kind == "difference":
        with np.errstate(invalid="ignore"):
            difference = np.subtract(first, second)
        return mean_interval(difference.tolist(), seed=seed)
    pairs = np.stack([first, second], axis=1).astype(np.float64)
    if not len(pairs):
        return Interval(np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(*pairs.mean(axis=0)))
        if not np.isfinite(pairs).all():
            return Interval(value, np.nan, np.nan)
        means = _weights(len(pairs), seed) @ pairs
        return _interval(value, means[:, 0] / means[:, 1])


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    if np.isnan(resampled).any():
        return Interval(value, np.nan, np.nan)
    # Without interpolation an infinite ratio cannot turn its finite neighbour into NaN.
    low, high = np.quantile(resampled, [tail, 1.0 - tail], method="nearest")
    return Interval(value, float(low), float(high))


@functools.lru_cache(maxsize=2)
def _weights(num_cases: int, seed: int) -> np.ndarray:
    """Return [NUM_RESAMPLES, N]: the share that each case has in each resample."""
    rng = keyed_generator(seed, "bootstrap", "metrics", num_cases)
    even = np.full(num_cases, 1.0 / num_cases)
    return rng.multinomial(num_cases, even, size=NUM_RESAMPLES) / num_cases
