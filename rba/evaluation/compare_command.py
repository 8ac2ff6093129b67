"""``rba evaluate compare A B``: two outputs on one benchmark, group by group."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.evaluation.bench_metrics import paired_figures
from rba.evaluation.result_files import ResultFolder, write_json

_COLUMNS = ("iou_mask", "hit", "psnr_hole_db", "ssim_hole", "seam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """The command's options.

    Attributes:
        first: Output folder of ``rba evaluate --bench``.
        second: Another one.
        methods: Names of rows between commas; None = all that both have.
        json: File for all figures of all metrics, or None.
        seed: Keys the intervals' resamples.
    """

    first: str
    second: str
    methods: str | None = None
    json: str | None = None
    seed: int = 0


def run_compare(command: CompareCommand) -> None:
    """Compare, print the main figures, and write all of them where that is wanted.

    Raises:
        InputError: If a folder is no output, or they cannot be compared.
    """
    folders = Path(command.first), Path(command.second)
    chosen = None if command.methods is None else [m.strip() for m in command.methods.split(",")]
    compared = compare_outputs(*folders, methods=chosen, seed=command.seed)
    print(comparison_lines(compared))
    if command.json is not None:
        try:
            write_json(Path(command.json), compared)
        except OSError as error:
            raise InputError(f"--json {command.json}: {error.strerror}") from error
        print(f"\nwrote {command.json}")


def compare_outputs(
    first: Path, second: Path, *, methods: Sequence[str] | None, seed: int
) -> dict[str, Any]:
    """Return, row by row and metric by metric, the second output minus the first.

    Only groups with a figure in both count: a group that one of them fails on is left out of both.

    Args:
        first: Output folder.
        second: Output folder on the same benchmark.
        methods: Rows; None = all that both have.
        seed: Keys the resamples.

    Returns:
        ``metrics`` (unit, which way is better), ``left_out`` (metrics that differ in definition),
        ``methods.ROW.METRIC``: ``mean`` of the differences with ``low`` and ``high``, ``n``,
        ``wins`` (groups on which the second is better), ``losses``, ``ties``, ``p_sign``.

    Raises:
        InputError: If a folder is no output, the benchmarks differ, or a row is missing.
    """
    tables = [_read_table(folder) for folder in (first, second)]
    if tables[0]["bench"]["digest"] != tables[1]["bench"]["digest"]:
        raise InputError(
            f"{first} was measured on {tables[0]['bench']['name']} and {second} on "
            f"{tables[1]['bench']['name']}, which hold other cases; only groups of one benchmark "
            "make pairs"
        )
    rows = _common_rows(first, second, tables, methods)
    metrics, differing = _common_metrics(tables)
    return {
        "first": str(first),
        "second": str(second),
        "bench": tables[0]["bench"],
        "metrics": metrics,
        "left_out": differing,
        "methods": {name: _compare_row(first, second, name, metrics, seed) for name in rows},
    }


def comparison_lines(compared: Mapping[str, Any]) -> str:
    """Return the main figures as lines: a row and metric each."""
    lines = [
        f"{compared['second']} minus {compared['first']}, "
        f"{compared['bench']['name']}; wins: groups on which the former is better",
        "",
    ]
    width = max(map(len, compared["methods"]), default=0)
    for name, row in compared["methods"].items():
        for metric in _COLUMNS:
            figure = row.get(metric)
            if figure is None or not figure["n"]:
                continue
            lines.append(f"{name.ljust(width)}  {metric.ljust(12)}  {_cell(figure)}")
    for metric in compared["left_out"]:
        lines.append(f"{metric}: left out: the two outputs define it differently")
    return "\n".join(lines)


def _cell(figure: Mapping[str, Any]) -> str:
    interval = "" if figure["low"] is None else f" [{figure['low']:+.3f}, {figure['high']:+.3f}]"
    chance = "-" if figure["p_sign"] is None else f"{figure['p_sign']:.3g}"
    counts = f"{figure['wins']} wins, {figure['losses']} losses, {figure['ties']} ties"
    return f"{figure['mean']:+.3f}{interval}  n={figure['n']}  {counts}  p={chance}"


def _read_table(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is no output of rba evaluate --bench: {path.name} cannot be read ({error})"
        ) from error
    if not isinstance(table, dict) or not {"bench", "metrics", "methods"} <= set(table):
        raise InputError(
            f"{path} is not of rba evaluate --bench; rba evaluate --objects has no rows"
        )
    return table


def _common_rows(
    first: Path, second: Path, tables: Sequence[Mapping[str, Any]], methods: Sequence[str] | None
) -> list[str]:
    there = [list(table["methods"]) for table in tables]
    common = [name for name in there[0] if name in there[1]]
    if methods is None:
        if not common:
            raise InputError(f"{first} and {second} have no row in common")
        return common
    for name in methods:
        if name not in common:
            raise InputError(
                f"--methods: {name} is not in both; both have {', '.join(common) or 'none'}"
            )
    return [name for name in common if name in methods]


def _common_metrics(
    tables: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], list[str]]:
    """Return the metrics that both computed in one way, and those they define differently."""
    first, second = (table["metrics"] for table in tables)
    both = [
        name
        for name in first
        if name in second and first[name]["skipped"] is None and second[name]["skipped"] is None
    ]
    facts = ("unit", "better", "definition")
    same = [n for n in both if all(first[n][fact] == second[n][fact] for fact in facts)]
    return {name: first[name] for name in same}, [name for name in both if name not in same]


def _compare_row(
    first: Path, second: Path, name: str, metrics: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    scores = [_read_scores(folder / "methods" / name) for folder in (first, second)]
    figures: dict[str, Any] = {}
    for metric, facts in metrics.items():
        old, new = (
            {case: found[metric] for case, found in row.items() if found.get(metric) is not None}
            for row in scores
        )
        figures[metric] = paired_figures(new, old, better=facts["better"], seed=seed)
    return figures


def _read_scores(folder: Path) -> dict[str, dict[str, Any]]:
    stored = ResultFolder(folder)
    names = sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))
    found = ((name, stored.scores(name)) for name in names)
    return {name: dict(item.scores) for name, item in found if item is not None}
