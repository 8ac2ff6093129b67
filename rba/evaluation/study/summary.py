"""The figures of a user study as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rba.evaluation.markdown import table, words

_TITLES = {"realism": "Realism", "fidelity": "Fidelity to the reference"}


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of ``study.md``.

    Args:
        report: What ``study.json`` holds.
    """
    raters = report["raters"]
    lines = [f"# User study: {raters['counted']} raters"]
    for title, name in (
        ("excluded for attention checks", "excluded"),
        ("left out as repeated", "repeated"),
        ("broken answer files", "broken"),
    ):
        if raters[name]:
            lines += ["", f"{len(raters[name])} {title}:", *(f"- {line}" for line in raters[name])]
    for section, scopes in report["sections"].items():
        lines += ["", f"## {_TITLES[section]}"]
        lines += _rates(report["methods"], scopes)
        lines += _pairs(scopes)
    return lines


def _rates(methods: Sequence[str], scopes: Mapping[str, Any]) -> list[str]:
    head = ["chosen where shown", *map(words, scopes), "95 % over raters (pooled)"]
    rows = [
        [
            method,
            *(_share(scope["methods"][method]) for scope in scopes.values()),
            _range(scopes["pooled"]["methods"][method]["bootstrap_over_raters"]),
        ]
        for method in methods
    ]
    rows.append(["agreement (alpha)", *(_alpha(s["agreement"]) for s in scopes.values()), ""])
    return ["", *table(head, rows)]


def _pairs(scopes: Mapping[str, Any]) -> list[str]:
    head = ["first", "second", "scope", "first chosen", "share", "p", "p (Holm)"]
    rows = [
        [
            pair["first"],
            pair["second"],
            words(name),
            f"{pair['first_chosen']} of {pair['first_chosen'] + pair['second_chosen']}",
            _share(pair),
            f"{pair['p']:.3g}",
            f"{pair['p_holm']:.3g}",
        ]
        for name, scope in scopes.items()
        for pair in scope["pairs"]
    ]
    return ["", *table(head, rows)]


def _share(figure: Mapping[str, Any]) -> str:
    if figure["rate"] is None:
        return "none"
    return f"{figure['rate']:.1%} {_range(figure['wilson'])}"


def _range(bounds: Sequence[float | None]) -> str:
    low, high = bounds
    return "" if low is None or high is None else f"[{low:.1%}, {high:.1%}]"


def _alpha(agreement: Mapping[str, Any]) -> str:
    alpha = agreement["krippendorff_alpha"]
    value = "not defined" if alpha is None else f"{alpha:.2f}"
    return f"{value} ({agreement['units']} shared)"
