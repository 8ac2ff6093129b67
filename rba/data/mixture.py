"""Which of several sets a position of a stream takes: a pure function with counts in closed form.

Of the first n positions the first set has ``ceil(n * w / W)``, w its weight of all weights W; the
positions that are left go to the other sets in the same way. After every W positions (whole-number
weights without a common factor) the counts are exact.
"""

import fractions
import math
from collections.abc import Sequence
from typing import Any

from rba.errors import InputError


class Mixture:
    """A fixed ratio of sets, spread as evenly as it goes.

    Args:
        weights: One a set, above 0; 0.3 means three tenths.

    Attributes:
        weights: The same ratio in whole numbers without a common factor.

    Raises:
        InputError: If there is no weight or one is no finite number above 0.
    """

    def __init__(self, weights: Sequence[float | fractions.Fraction]) -> None:
        if not weights:
            raise InputError("there is no set of shards to take samples from; give at least one")
        exact = [_exact(weight) for weight in weights]
        scale = math.lcm(*(weight.denominator for weight in exact))
        whole = [int(weight * scale) for weight in exact]
        divisor = math.gcd(*whole)
        self.weights = tuple(weight // divisor for weight in whole)
        # What a set shares with those after it.
        self._totals = tuple(sum(self.weights[i:]) for i in range(len(self.weights)))

    def __len__(self) -> int:
        return len(self.weights)

    def share(self, number: int) -> float:
        """Return which share of the positions a set has in the long run, in (0, 1]."""
        return self.weights[number] / self._totals[0]

    def place(self, position: int) -> tuple[int, int]:
        """Return the set of a position (>= 0), and how many earlier positions it had."""
        for number, (weight, total) in enumerate(zip(self.weights, self._totals, strict=True)):
            before = _ceil(position * weight, total)
            if _ceil((position + 1) * weight, total) > before:
                return number, before
            position -= before
        raise AssertionError("the last set takes what the others leave")

    def counts(self, positions: int) -> list[int]:
        """Return how many of the first ``positions`` each set has; they sum to it."""
        counts: list[int] = []
        for weight, total in zip(self.weights, self._totals, strict=True):
            counts.append(_ceil(positions * weight, total))
            positions -= counts[-1]
        return counts


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _exact(weight: Any) -> fractions.Fraction:
    number = isinstance(weight, (int, float, fractions.Fraction)) and not isinstance(weight, bool)
    if not number or not math.isfinite(weight) or weight <= 0:
        raise InputError(f"a weight of {weight!r} means nothing; give a number above 0")
    return fractions.Fraction(str(weight))
