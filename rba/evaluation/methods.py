"""What every row of the table is: a method takes cases and gives refined images.

Ours under all conditions (`rba.evaluation.network_methods`), classical baselines
(`rba.evaluation.baselines`) and a folder that another tool filled (`rba.evaluation.folder_method`)
have this one face. The runner gives all of them the same cases with the same draw numbers.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

from rba.case import Case

FALLBACK = "fallback"
"""The key of `MethodResult.notes` that says why a case could not be served."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What a method made of one case.

    Attributes:
        image: HxWx3 uint8, of the size of ``case.image``.
        region: hxw bool on ``case.references[reference_index]``, where the method took its content
            from; None where there is no such place, or it lies on another picture. Empty: it was
            searched for and not found.
        correspondence: n x n float, the raw correspondence map (n = 16), where there is one.
        reference_index: Which of the case's references ``region`` lies on.
        faded: HxW bool, pixels beyond the artifact mask that the method may change to fade into
            its surroundings; None = it changes none there.
        notes: JSON: flags, the reason of a fallback under `FALLBACK`. Only what the method
            computed: no clock, no path, so that a second run writes the same bytes.
    """

    image: np.ndarray
    region: np.ndarray | None = None
    correspondence: np.ndarray | None = None
    reference_index: int = 0
    faded: np.ndarray | None = None
    notes: Mapping[str, object] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


class Method(Protocol):
    """A row of the table."""

    @property
    def name(self) -> str:
        """The row's name, snake_case; a folder of the output is called so."""
        ...

    @property
    def description(self) -> str:
        """One plain sentence for the table's legend."""
        ...

    def settings(self) -> Mapping[str, object]:
        """Return all numbers that decide the results, as JSON; a resume refuses other ones."""
        ...

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield one result a case, in order.

        Args:
            cases: A batch.
            numbers: Each case's draw number, its place in the whole set: it keys the noise, so that
                all methods start from equal noise, alone and in any batch.

        A case that cannot be served raises nothing; see `untouched`.
        """
        ...


def untouched(case: Case, reason: str) -> MethodResult:
    """Return a case's image as it is, for a method that cannot serve it; counted as a fallback."""
    return MethodResult(image=case.image, notes={FALLBACK: reason})


@dataclasses.dataclass(frozen=True)
class Defect:
    """The image as it came: what every method starts from."""

    name: str = "defect"
    description: str = "The generated image as it came, its defect left in."

    def settings(self) -> Mapping[str, object]:
        """Return nothing: there is nothing to set."""
        return {}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield each case's own image."""
        del numbers
        for case in cases:
            yield MethodResult(image=case.image)
