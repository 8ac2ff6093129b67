"""How good the matches of a set's own pairs are, where the truth is known."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from rba.data.build.sizes import DroppedError
from rba.data.objects.loader import PairLoader
from rba.data.objects.views import ViewPair
from rba.data.output import OutputFolder

REPORT_NAME = "matching_report.json"


class Figures(Protocol):
    """Counts that can be added up; see `rba.matching.accuracy`."""

    def __add__(self, other: Any, /) -> Self:
        """Return the counts of both."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return figures."""
        ...


# Compares a grid with the true one, of a reference of height and width.
Measure = Callable[[np.ndarray, np.ndarray, tuple[int, int]], Figures]


def write_matching_report(
    pairs: Sequence[tuple[str, ViewPair]],
    loader: PairLoader,
    output: OutputFolder,
    most: int,
    measure: Measure,
) -> Mapping[str, Any]:
    """Match the first pairs with a known truth once more; write and print the figures.

    Args:
        pairs: Of the set.
        loader: Reads and matches them.
        output: Where ``matching_report.json`` goes.
        most: So many pairs at most.
        measure: See `Measure`.

    Returns:
        What the report says: matcher -> figures, and the pairs that could not be matched.
    """
    totals: dict[str, Figures] = {}
    left_out: dict[str, list[str]] = {}
    measured = 0
    for name, pair in (item for item in pairs if item[1].correspondence is not None):
        if measured == most:
            break
        try:
            target, reference = loader.views(pair)
            truth = loader.exact(pair, target)
        except DroppedError as reason:
            left_out.setdefault(str(reason), []).append(name)
            continue
        measured += 1
        grids = {"exact": truth}
        if loader.matcher is not None:
            views = target.image, target.mask, reference.image, reference.mask
            grids[loader.matcher_name], fault = loader.matcher(*views)
            if fault is not None:  # it claims nothing then
                left_out.setdefault(fault, []).append(name)
                grids[loader.matcher_name] = np.full_like(truth, np.nan)
        for matcher, grid in grids.items():
            size = reference.image.shape[0], reference.image.shape[1]
            counts = measure(grid, truth, size)
            totals[matcher] = totals[matcher] + counts if matcher in totals else counts
    facts = {
        "matchers": {matcher: total.summary() for matcher, total in totals.items()},
        "left_out": left_out,
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    output.write(REPORT_NAME, text.encode("utf-8", "replace"))
    for matcher, total in totals.items():
        figures = "  ".join(f"{name} {value}" for name, value in total.summary().items())
        print(f"{'matches: ' + matcher:<32}{figures}")
    if not totals:
        print("matches: no pair has a known truth")
    return facts
