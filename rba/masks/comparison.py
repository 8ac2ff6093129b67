"""How well a fit meets masks that it has not seen."""

import dataclasses
from collections.abc import Sequence

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.fit import SMALLEST_SET, fit_profile
from rba.masks.groups import MaskProfile
from rba.masks.population import Measured, commonest_size, in_parallel
from rba.masks.report import distances
from rba.masks.statistics import MaskStatistics
from rba.masks.synthesis import Synthesis

_SYNTHESIZED = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A profile fitted to one half of the given masks, against the other half.

    Attributes:
        given: The half that the fit has not seen.
        fitted: Synthesized masks, as many, at most 1,000.
        fitted_on: Number of masks of the other half.
        size: Height and width at which masks were synthesized.
        distances: Kolmogorov-Smirnov distance of each statistic, fitted to given.
        floor: The same between the two halves of the given masks.
    """

    given: Sequence[Measured]
    fitted: Sequence[Measured]
    fitted_on: int
    size: tuple[int, int]
    distances: dict[str, float]
    floor: dict[str, float]


def fit_population(measured: Sequence[Measured], name: str, longest_side: int) -> MaskProfile:
    """Fit a profile to measured masks, at their commonest size, bounded.

    Raises:
        InputError: If there are too few.
    """
    return fit_profile(_statistics(measured), name, _bounded(measured, longest_side))


def compare_fit(
    measured: Sequence[Measured], name: str, longest_side: int, seed: int, workers: int
) -> Comparison:
    """Fit a profile to one half of the masks and compare what it makes with the other half.

    Args:
        measured: Masks that could be measured, at least 40.
        name: Of the population.
        longest_side: Bound of the size of synthesized masks, in pixels.
        seed: Of the halves and of the synthesized masks.
        workers: Processes.

    Raises:
        InputError: If there are too few masks.
    """
    if len(measured) < 2 * SMALLEST_SET:
        raise InputError(
            f"{len(measured)} masks are too few to fit a profile; give at least {2 * SMALLEST_SET}"
        )
    order = keyed_generator(seed, "mask halves", "fit", 0).permutation(len(measured))
    half = len(measured) // 2
    seen, unseen = ([measured[k] for k in part] for part in (order[half:], order[:half]))
    size = _bounded(measured, longest_side)
    profile = fit_profile(_statistics(seen), name, size)
    synthesis = Synthesis(profile, seed, *size)
    fitted = list(in_parallel(synthesis, range(min(_SYNTHESIZED, half)), workers))
    return Comparison(
        given=unseen,
        fitted=fitted,
        fitted_on=len(seen),
        size=size,
        distances=distances(_statistics(fitted), _statistics(unseen)),
        floor=distances(_statistics(seen), _statistics(unseen)),
    )


def _statistics(measured: Sequence[Measured]) -> list[MaskStatistics]:
    return [m.statistics for m in measured if m.statistics is not None]


def _bounded(measured: Sequence[Measured], longest_side: int) -> tuple[int, int]:
    height, width = commonest_size(measured)
    scale = min(1.0, longest_side / max(height, width))
    return max(round(height * scale), 16), max(round(width * scale), 16)
