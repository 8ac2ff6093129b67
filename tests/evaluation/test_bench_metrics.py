"""The table's figures against what can be computed by hand."""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from rba.evaluation.bench_metrics import Row, bench_figures, write_groups
from rba.evaluation.bench_summary import bench_summary
from rba.evaluation.case_set import CaseFacts, CaseSet
from rba.evaluation.methods import FALLBACK, Defect
from rba.evaluation.result_files import StoredScores
from rba.evaluation.scoring import Metric

GOOD = Metric(name="good", unit="dB", better="higher", definition="Good.", score=lambda *_: 0.0)
BAD = Metric(name="bad", unit="", better="lower", definition="Bad.", score=lambda *_: 0.0)
NEVER = Metric(name="never", unit="", better="lower", definition="N.", score=lambda *_: None)
SKIPPED = Metric(name="skipped", unit="", better="lower", definition="S.", skipped="no weights")
METRICS = {metric.name: metric for metric in (GOOD, BAD, NEVER, SKIPPED)}
OURS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
OTHER = [2.0, 2.0, 4.0, 5.0, 4.0, None]


@pytest.fixture
def cases() -> CaseSet:
    facts = [
        CaseFacts(
            number=index,
            folder=Path(f"c{index}"),
            id=f"c{index}",
            task="ab"[index % 2],
            object_name=f"o{index}",
            size=(8, 8),
            artifact_share=0.1 * index,
            has_truth=True,
            truth_share=0.1 * index or None,
        )
        for index in range(6)
    ]
    return CaseSet(root=Path("somewhere/set"), cases=facts, digest="d", whole=facts)


def row(name: str, values: list[float | None], notes: Mapping[str, object] | None = None) -> Row:
    stored = {
        f"c{index}": StoredScores(
            scores={"good": value, "bad": value, "never": None},
            notes=notes or {},
            scored_with="",
            error=None,
        )
        for index, value in enumerate(values)
    }
    return Row(method=dataclasses.replace(Defect(), name=name), stored=stored)


@pytest.fixture
def rows() -> list[Row]:
    failed = StoredScores(scores={}, notes={}, scored_with="", error="odd")
    last = row("last", [*OURS[:5]], {FALLBACK: "why not"})
    return [
        row("ours", [*OURS]),
        row("other", [*OTHER]),
        dataclasses.replace(last, stored={**last.stored, "c5": failed}),
    ]


def test_means_run_over_the_groups_that_have_the_figure(cases: CaseSet, rows: list[Row]) -> None:
    figures = bench_figures(rows, cases, METRICS, left_out={"x": "no truth"}, seed=3)
    ours = figures["methods"]["ours"]
    assert ours["pooled"]["good"]["mean"] == pytest.approx(np.mean(OURS))
    assert ours["pooled"]["good"]["low"] < np.mean(OURS) < ours["pooled"]["good"]["high"]
    assert ours["tasks"]["a"]["good"]["mean"] == pytest.approx(3.0)
    assert ours["tasks"]["b"]["good"]["n"] == 3
    assert figures["methods"]["other"]["pooled"]["good"]["n"] == 5
    assert ours["pooled"]["never"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert "skipped" not in ours["pooled"]
    assert figures["left_out"] == {"x": "no truth"}
    bench = figures["bench"]
    assert (bench["name"], bench["cases"], bench["tasks"]) == ("set", 6, {"a": 3, "b": 3})
    assert bench["median_truth_area"] == pytest.approx(0.3)
    assert bench["with_true_region"] == 5
    assert figures == bench_figures(rows, cases, METRICS, left_out={"x": "no truth"}, seed=3)


def test_pairs_are_compared_on_the_groups_that_both_have(cases: CaseSet, rows: list[Row]) -> None:
    methods = bench_figures(rows, cases, METRICS, left_out={}, seed=0)["methods"]
    assert "against_ours" not in methods["ours"]
    higher = methods["other"]["against_ours"]["good"]
    assert higher["mean"] == pytest.approx(np.mean([1, 0, 1, 1, -1]))
    assert (higher["n"], higher["wins"], higher["losses"], higher["ties"]) == (5, 3, 1, 1)
    assert higher["p_sign"] == binomtest(3, 4).pvalue
    lower = methods["other"]["against_ours"]["bad"]
    assert (lower["wins"], lower["losses"]) == (1, 3)
    assert methods["last"]["against_ours"]["good"]["p_sign"] is None  # ties alone
    without = bench_figures(rows[1:], cases, METRICS, left_out={}, seed=0)["methods"]
    assert "against_ours" not in without["other"]


def test_fallbacks_failures_and_reasons_are_told(cases: CaseSet, rows: list[Row]) -> None:
    figures = bench_figures(rows, cases, METRICS, left_out={"x": "no truth"}, seed=0)
    assert figures["methods"]["last"]["fallbacks"] == 5
    assert figures["methods"]["last"]["failures"] == {"c5": "odd"}
    assert figures["metrics"]["skipped"]["skipped"] == "no weights"
    assert "6 of 6 cases have a truth, 5 a true region" in figures["metrics"]["never"]["skipped"]
    assert figures["metrics"]["good"]["skipped"] is None
    text = bench_summary(figures)
    for words in ("5 fallbacks, 1 failed", "x: left out: no truth", "not computed: no weights"):
        assert words in text


def test_a_line_a_group_and_row(cases: CaseSet, rows: list[Row], tmp_path: Path) -> None:
    write_groups(tmp_path / "groups.csv", rows, cases, METRICS)
    with (tmp_path / "groups.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 18
    assert [line["method"] for line in lines[:3]] == ["ours", "other", "last"]
    last = {line["method"]: line for line in lines if line["case"] == "c5"}
    assert float(last["ours"]["good"]) == 6.0
    assert last["other"]["good"] == ""
    assert last["last"]["failure"] == "odd"
    assert lines[2]["fallback"] == "why not"
    assert lines[0]["task"] == "a"
