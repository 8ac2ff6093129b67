"""``metrics.json`` and ``groups.csv``: every row of the table with intervals over the groups."""

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from scipy.stats import binomtest

from rba.evaluation.case_set import CaseFacts, CaseSet
from rba.evaluation.methods import FALLBACK, Method
from rba.evaluation.network_rows import OURS
from rba.evaluation.result_files import ResultFolder, StoredScores
from rba.evaluation.scores import finite, median
from rba.evaluation.scoring import Metric
from rba.metrics.bootstrap import CONFIDENCE, NUM_RESAMPLES, Interval, mean_interval

SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A method and what it scored.

    Attributes:
        method: Name, description, settings.
        stored: By case id; a case without a result is missing.
    """

    method: Method
    stored: Mapping[str, StoredScores]

    def values(self, metric: str, cases: Sequence[CaseFacts]) -> dict[str, float]:
        """Return the scores of those cases for which the metric is defined, by case id."""
        found = ((case.id, self.stored.get(case.id)) for case in cases)
        scored = ((name, item.scores.get(metric)) for name, item in found if item is not None)
        return {name: value for name, value in scored if value is not None}


def read_row(method: Method, folder: ResultFolder, cases: CaseSet) -> Row:
    """Read what a row scored on each case."""
    found = {case.id: folder.scores(case.id) for case in cases.cases}
    return Row(
        method=method, stored={name: item for name, item in found.items() if item is not None}
    )


def bench_figures(
    rows: Sequence[Row],
    cases: CaseSet,
    metrics: Mapping[str, Metric],
    *,
    left_out: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Return all figures of the table.

    A group of the benchmark is one case; intervals are percentile bootstraps over the groups.

    Args:
        rows: Of the table, in order.
        cases: Those that were run.
        metrics: By name, in order.
        left_out: Rows that were asked for and cannot be had, with the reason.
        seed: Keys the resamples.
    """
    tasks = sorted({case.task for case in cases.cases})
    subsets = {task: [c for c in cases.cases if c.task == task] for task in tasks}
    ours = next((row for row in rows if row.method.name == OURS), None)
    computed = [metric for metric in metrics.values() if metric.skipped is None]
    methods: dict[str, dict[str, Any]] = {}
    for row in rows:
        failed = {name: item.error for name, item in row.stored.items() if item.error is not None}
        methods[row.method.name] = {
            "description": row.method.description,
            "settings": dict(row.method.settings()),
            "fallbacks": sum(FALLBACK in item.notes for item in row.stored.values()),
            "failures": failed,
            "pooled": _means(row, cases.cases, computed, seed),
            "tasks": {task: _means(row, group, computed, seed) for task, group in subsets.items()},
        }
        if ours is not None and row is not ours:
            methods[row.method.name]["against_ours"] = {
                metric.name: _against(row, ours, metric, cases.cases, seed) for metric in computed
            }
    return {
        "schema": SCHEMA,
        "bench": bench_facts(cases),
        "metrics": {metric.name: _column(metric, methods, cases) for metric in metrics.values()},
        "methods": methods,
        "left_out": dict(left_out),
        "intervals": {"confidence": CONFIDENCE, "num_resamples": NUM_RESAMPLES, "seed": seed},
        "calibration": None,
    }


def bench_facts(cases: CaseSet) -> dict[str, Any]:
    """Return what the table was measured on."""
    tasks = [case.task for case in cases.cases]
    return {
        "name": cases.root.resolve().name,
        "digest": cases.digest,
        "cases": len(cases.cases),
        "cases_in_folder": len(cases.whole),
        "tasks": {task: tasks.count(task) for task in sorted(set(tasks))},
        "with_truth": sum(case.has_truth for case in cases.cases),
        "with_true_region": sum(case.truth_share is not None for case in cases.cases),
        "median_artifact_area": median(case.artifact_share for case in cases.cases),
        "median_truth_area": median(
            case.truth_share for case in cases.cases if case.truth_share is not None
        ),
    }


def write_groups(
    path: Path, rows: Sequence[Row], cases: CaseSet, metrics: Mapping[str, Metric]
) -> None:
    """Write a line a group and row; an empty field is a figure that is not defined there."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        _write_lines(file, rows, cases, [m.name for m in metrics.values() if m.skipped is None])
    partial.replace(path)


def _write_lines(file: TextIO, rows: Sequence[Row], cases: CaseSet, metrics: Sequence[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["case", "task", "object", "method", "fallback", "failure", *metrics])
    for case in cases.cases:
        for row in rows:
            item = row.stored.get(case.id)
            if item is None:
                continue
            scores = [item.scores.get(name) for name in metrics]
            writer.writerow(
                [
                    *(case.id, case.task, case.object_name, row.method.name),
                    *(item.notes.get(FALLBACK, ""), item.error or ""),
                    *("" if score is None else repr(score) for score in scores),
                ]
            )


def _means(
    row: Row, cases: Sequence[CaseFacts], metrics: Sequence[Metric], seed: int
) -> dict[str, dict[str, float | int | None]]:
    found = {metric.name: list(row.values(metric.name, cases).values()) for metric in metrics}
    return {
        name: _interval(mean_interval(values, seed=seed), len(values))
        for name, values in found.items()
    }


def _interval(interval: Interval, count: int) -> dict[str, float | int | None]:
    return {
        "mean": finite(interval.value),
        "low": finite(interval.low),
        "high": finite(interval.high),
        "n": count,
    }


def _against(
    row: Row, ours: Row, metric: Metric, cases: Sequence[CaseFacts], seed: int
) -> dict[str, float | int | None]:
    """Compare a row with ours on the groups that both have: the row minus ours."""
    pair = row.values(metric.name, cases), ours.values(metric.name, cases)
    return paired_figures(*pair, better=metric.better, seed=seed)


def paired_figures(
    first: Mapping[str, float], second: Mapping[str, float], *, better: str, seed: int
) -> dict[str, float | int | None]:
    """Compare two sets of scores on the groups that both have: the first minus the second.

    ``wins`` counts the groups on which the first is the better one; the sign test leaves ties out.

    Args:
        first: Scores by group.
        second: Scores by group.
        better: ``higher`` or ``lower``.
        seed: Keys the resamples.
    """
    differences = [first[name] - second[name] for name in first if name in second]
    sign = 1 if better == "higher" else -1
    wins = sum(sign * difference > 0 for difference in differences)
    losses = sum(sign * difference < 0 for difference in differences)
    decided = wins + losses
    return {
        **_interval(mean_interval(differences, seed=seed), len(differences)),
        "wins": wins,
        "losses": losses,
        "ties": len(differences) - decided,
        "p_sign": float(binomtest(wins, decided).pvalue) if decided else None,
    }


def _column(
    metric: Metric, methods: Mapping[str, Mapping[str, Any]], cases: CaseSet
) -> dict[str, str | None]:
    skipped = metric.skipped
    figures: Iterator[Any] = (item["pooled"].get(metric.name) for item in methods.values())
    if skipped is None and not any(figure and figure["n"] for figure in figures):
        facts = bench_facts(cases)
        skipped = (
            f"defined for no result: {facts['with_truth']} of {facts['cases']} cases have a "
            f"truth, {facts['with_true_region']} a true region"
        )
    return {
        "unit": metric.unit,
        "better": metric.better,
        "definition": metric.definition,
        "skipped": skipped,
    }
