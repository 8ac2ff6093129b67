"""Figures with their intervals as Markdown tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"
FORMS = {"psnr_in_hole": "{:.2f}", "ratio": "{:.2f}"}
"""How figures are written, by name; all others with three decimals."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def figure(scores: Mapping[str, Any] | None, name: str, form: str | None = None) -> str:
    """Return a mean and its interval, ``0.312 [0.290, 0.334]``.

    Args:
        scores: Holds ``NAME`` and ``NAME_interval``; None, or without them, is not measured.
        name: The figure.
        form: How numbers are written; None = as `FORMS` says.
    """
    value = None if scores is None else scores.get(name)
    if scores is None or value is None:
        return NOT_MEASURED
    form = form or FORMS.get(name, "{:.3f}")
    interval = scores.get(f"{name}_interval")
    bounds = ", ".join(form.format(bound) for bound in interval) if interval else "no interval"
    return f"{form.format(value)} [{bounds}]"


def number(value: float | int | bool | None, form: str = "{:.4g}") -> str:
    """Return a number without an interval; whole numbers and truths as they are."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else form.format(value)


def words(name: str) -> str:
    """Return a name of the code as words."""
    return name.replace("_", " ")
