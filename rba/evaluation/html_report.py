"""``report.html``: the table, its pictures and its fine print in one file that needs no other."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from rba.evaluation.bench_metrics import Row
from rba.evaluation.case_set import CaseSet
from rba.evaluation.html_gallery import galleries
from rba.evaluation.result_files import ResultFolder

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_DIGITS = {"dB": 2, "grey levels": 0}  # after the point, by unit; others 3
_DRAWINGS = (
    ("grid.png", "Gamma: mean IoU of the post-processed masks"),
    ("grid_iou_box.png", "of their boxes"),
    ("grid_hit.png", "hit rate"),
    ("grid_pck_0.1.png", "PCK"),
    ("curves.png", "mean IoU along either axis"),
)


def write_html(
    output: Path,
    figures: Mapping[str, Any],
    rows: Sequence[Row],
    cases: CaseSet,
    folders: Mapping[str, ResultFolder],
) -> None:
    """Write ``report.html`` aside and rename it; the same results give the same bytes.

    Args:
        output: The report's folder; holds the calibration's drawings, if there are any.
        figures: `rba.evaluation.bench_metrics.bench_figures`, with ``calibration``.
        rows: Of the table.
        cases: Of the table.
        folders: The results of every row.
    """
    metrics = {
        name: metric for name, metric in figures["metrics"].items() if metric["skipped"] is None
    }
    sorted_by, shown = galleries(rows, cases, folders)
    drawings = _DRAWINGS if figures["calibration"] is not None else ()
    page = (
        _environment()
        .from_string(_TEMPLATE.read_text(encoding="utf-8"))
        .render(
            figures=figures,
            metrics=metrics,
            tables=[("All tasks", "pooled", _table(figures, metrics, None))]
            + [(task, task, _table(figures, metrics, task)) for task in figures["bench"]["tasks"]],
            compared=_compared(figures, metrics),
            drawings=[
                (words, _png_url(output / name))
                for name, words in drawings
                if (output / name).is_file()
            ],
            galleries=shown,
            sorted_by=sorted_by,
        )
    )
    partial = output / ".report.html.partial"
    partial.write_text(page, encoding="utf-8")
    partial.replace(output / "report.html")


def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _table(
    figures: Mapping[str, Any], metrics: Mapping[str, Any], task: str | None
) -> list[dict[str, Any]]:
    """Return a line a row: its name, description, counts and cells; the best cell is marked."""
    found = {
        name: row["pooled"] if task is None else row["tasks"][task]
        for name, row in figures["methods"].items()
    }
    best = {name: _best(found, name, metric["better"]) for name, metric in metrics.items()}
    return [
        {
            "name": name,
            "description": figures["methods"][name]["description"],
            "fallbacks": figures["methods"][name]["fallbacks"],
            "failures": len(figures["methods"][name]["failures"]),
            "cells": [
                {
                    **_written(own[metric], metrics[metric]["unit"]),
                    "best": own[metric]["mean"] is not None and own[metric]["mean"] == best[metric],
                }
                for metric in metrics
            ],
        }
        for name, own in found.items()
    ]


def _best(found: Mapping[str, Any], metric: str, better: str) -> float | None:
    """Return the best mean of a column; the true region wins its own columns and does not count."""
    means = [
        own[metric]["mean"]
        for name, own in found.items()
        if name not in ("oracle_region", "defect") and own[metric]["mean"] is not None
    ]
    if not means:
        return None
    return max(means) if better == "higher" else min(means)


def _compared(figures: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a line a row that is compared with ours."""
    lines: list[dict[str, Any]] = []
    for name, row in figures["methods"].items():
        if "against_ours" not in row:
            continue
        cells = [
            {
                **_written(row["against_ours"][metric], metrics[metric]["unit"], signed=True),
                **{key: row["against_ours"][metric][key] for key in ("wins", "losses", "ties")},
                "p": _p_value(row["against_ours"][metric]["p_sign"]),
                "verdict": _verdict(row["against_ours"][metric], metrics[metric]["better"]),
            }
            for metric in metrics
        ]
        lines.append({"name": name, "description": row["description"], "cells": cells})
    return lines


def _written(figure: Mapping[str, Any], unit: str, *, signed: bool = False) -> dict[str, Any]:
    form = f"{{:{'+' if signed else ''}.{_DIGITS.get(unit, 3)}f}}"
    if figure["mean"] is None:
        return {"mean": "-", "interval": "", "n": figure["n"]}
    low, high = figure["low"], figure["high"]
    known = low is not None and high is not None
    return {
        "mean": form.format(figure["mean"]),
        "interval": f"{form.format(low)} … {form.format(high)}" if known else "",
        "n": figure["n"],
    }


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(figure: Mapping[str, Any], better: str) -> str:
    """Say which side of zero the whole interval lies on: the row is ``better``, ``worse``, or."""
    low, high = figure["low"], figure["high"]
    if low is None or high is None or low <= 0.0 <= high:
        return ""
    return "better" if (low > 0.0) == (better == "higher") else "worse"


def _png_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
