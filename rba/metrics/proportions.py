"""Shares of choices: intervals, exact tests, and their correction when there are many."""

import math
from collections.abc import Sequence

from scipy.stats import binomtest, norm

from rba.metrics.bootstrap import CONFIDENCE, Interval


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return a share with Wilson's score interval of 95 %; trials are taken as independent.

    Args:
        successes: 0 to ``trials``.
        trials: 0 or more; of none everything is NaN.
    """
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    half = spread * z / (1 + z**2 / trials)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # Rounding must not put the share itself outside at 0 and 1.
    return Interval(share, min(low, share), max(high, share))


def even_odds_p(first: int, second: int) -> float:
    """Return the exact two-sided p that two counts come from even odds; 1 of no trial.

    Args:
        first: Choices of one.
        second: Choices of the other.
    """
    trials = first + second
    return 1.0 if trials == 0 else float(binomtest(first, trials, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    Args:
        p_values: In [0, 1], one a test of the family.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    ranked = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(ranked):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
