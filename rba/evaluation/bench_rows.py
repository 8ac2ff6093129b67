"""Which rows a table gets: the names a user gives, and what each of them needs."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from rba.errors import InputError
from rba.evaluation.baselines.paint_by_example import PaintByExample
from rba.evaluation.baselines.patch_correlation import PatchCorrelation
from rba.evaluation.baselines.sift_poisson import SiftPoisson
from rba.evaluation.case_set import CaseSet
from rba.evaluation.folder_method import FolderMethod
from rba.evaluation.methods import Defect, Method
from rba.evaluation.models import LazyModel
from rba.evaluation.network_methods import NO_TRUE_REGION, NetworkMethod, NetworkNumbers
from rba.evaluation.network_rows import OURS, ROWS, NetworkRow

ALL = "all"
EXAMPLE = "paint_by_example"
WITHOUT_NETWORK: Mapping[str, Callable[[], Method]] = {
    "defect": Defect,
    "sift_poisson": SiftPoisson,
    "patch_correlation": PatchCorrelation,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowChoice:
    """The rows that a user asked for.

    Attributes:
        names: Of our own rows and baselines, in the table's order.
        results: Folder of another tool's pictures by the row's name.
        models: Further model directory by the row's name: the whole method with that model.
    """

    names: Sequence[str]
    results: Mapping[str, str]
    models: Mapping[str, str]


def known_rows() -> list[str]:
    """Return the names that ``--methods`` takes, in the table's order."""
    return [*WITHOUT_NETWORK, EXAMPLE, *(row.name for row in ROWS)]


def choose_rows(methods: str, results: Sequence[str], models: Sequence[str]) -> RowChoice:
    """Read ``--methods a,b``, ``--results NAME=DIR`` and ``--also-model NAME=DIR``.

    Raises:
        InputError: For a name that is not known, given twice, or cannot be a folder's.
    """
    known = known_rows()
    names = known if methods == ALL else [name.strip() for name in methods.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"--methods {methods}: {unknown[0]!r} is not known; give {ALL}, or some of "
            f"{', '.join(known)}"
        )
    taken = list(known)
    return RowChoice(
        names=[name for name in known if name in names],
        results=_named("--results", results, taken),
        models=_named("--also-model", models, taken),
    )


def make_rows(
    choice: RowChoice,
    cases: CaseSet,
    model: LazyModel,
    others: Mapping[str, LazyModel],
    numbers: NetworkNumbers,
    example: PaintByExample | None = None,
) -> tuple[list[Method], dict[str, str]]:
    """Make the rows; no weights are loaded.

    Args:
        choice: What was asked for.
        cases: Those of the table.
        model: Of all our rows.
        others: Of ``choice.models``.
        numbers: Of the network's rows; a cell that was calibrated holds for ``model`` alone.
        example: That baseline, where its weights were given.

    Returns:
        The rows in order, and those that cannot be had with the reason.

    Raises:
        InputError: If a folder of results does not fit the cases.
    """
    made: list[Method] = []
    left_out: dict[str, str] = {}
    by_name = {row.name: row for row in ROWS}
    for name in choice.names:
        if name in WITHOUT_NETWORK:
            made.append(WITHOUT_NETWORK[name]())
        elif name == EXAMPLE and example is not None:
            made.append(example)
        elif name == EXAMPLE:
            left_out[name] = "no weights: give --paint-by-example DIR, a local diffusers folder"
        elif by_name[name].guide == "true" and not any(x.truth_share for x in cases.cases):
            left_out[name] = f"{NO_TRUE_REGION} for any case"
        else:
            made.append(NetworkMethod(by_name[name], model, numbers, cases))
    own_cell = dataclasses.replace(numbers, cell=None)
    for name, other in others.items():
        told = f"As {OURS}, with another model, at the (t, l) that it comes with."
        row = NetworkRow(name=name, description=told)
        made.append(NetworkMethod(row, other, own_cell, cases))
    for name, folder in choice.results.items():
        made.append(FolderMethod(name, folder, cases.cases))
    return made, left_out


def _named(option: str, given: Sequence[str], taken: list[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not folder or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise InputError(
                f"{option} {text}: give NAME=DIR, the name of letters, digits, _, - and ."
            )
        if name in taken:
            raise InputError(f"{option} {text}: there is a row {name} already; give another name")
        taken.append(name)
        named[name] = folder
    return named
