"""Agreement between raters who choose among names: Krippendorff's alpha."""

import collections
from collections.abc import Hashable, Iterable, Sequence


def nominal_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Return Krippendorff's alpha for nominal values: 1 = all agree, 0 = as by chance.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011. Raters may be missing.

    Args:
        units: For each thing that was rated the values that its raters gave, in any order. Units
            with fewer than two values say nothing and are left out.

    Returns:
        At most 1; None where no unit has two values, or all values are the same one.
    """
    pairable = [list(values) for values in units if len(values) > 1]
    totals: collections.Counter[Hashable] = collections.Counter()
    observed = 0.0  # pairs of unequal values within units, each unit weighted by 1 / (values - 1)
    for values in pairable:
        counts = collections.Counter(values)
        totals.update(counts)
        unequal = len(values) ** 2 - sum(count**2 for count in counts.values())
        observed += unequal / (len(values) - 1)
    number = totals.total()
    expected = (number**2 - sum(count**2 for count in totals.values())) / max(number - 1, 1)
    return None if expected == 0 else 1.0 - observed / expected
