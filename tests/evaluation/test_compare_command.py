"""Two outputs are compared group by group: differences, intervals and the sign test."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from rba.cli import main
from rba.evaluation.compare_command import compare_outputs, comparison_lines

METRICS = {
    "psnr_hole_db": {"unit": "dB", "better": "higher", "definition": "d.", "skipped": None},
    "seam": {"unit": "", "better": "lower", "definition": "s.", "skipped": None},
    "dino": {"unit": "", "better": "higher", "definition": "c.", "skipped": "no weights"},
}


def write_output(
    folder: Path, values: dict[str, list[float | None]], digest: str = "one", seam: str = "s."
) -> Path:
    """One case a value: its PSNR, and its seam a tenth of it."""
    metrics = METRICS | {"seam": METRICS["seam"] | {"definition": seam}}
    table = {
        "bench": {"digest": digest, "name": f"bench-{digest}"},
        "metrics": metrics,
        "methods": {name: {} for name in values},
    }
    for name, scores in values.items():
        row = folder / "methods" / name
        row.mkdir(parents=True)
        for number, value in enumerate(scores):
            pair = {"psnr_hole_db": value, "seam": None if value is None else value / 10}
            (row / f"case-{number}.json").write_text(json.dumps({"scores": pair}))
    (folder / "metrics.json").write_text(json.dumps(table))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    first = write_output(
        tmp_path / "a", {"ours": [10, 11, 12, 13, None], "defect": [5, 5, 5, 5, 5]}
    )
    second = write_output(tmp_path / "b", {"defect": [5, 5, 5, 5, 5], "ours": [12, 11, 11, 16, 9]})
    return first, second


def test_differences_counts_and_the_sign_test(pair: tuple[Path, Path]) -> None:
    compared = compare_outputs(*pair, methods=None, seed=0)
    assert list(compared["methods"]) == ["ours", "defect"]
    figure = compared["methods"]["ours"]["psnr_hole_db"]
    assert figure["n"] == 4
    assert figure["mean"] == pytest.approx(1.0)
    assert (figure["wins"], figure["losses"], figure["ties"]) == (2, 1, 1)
    assert figure["p_sign"] == pytest.approx(binomtest(2, 3).pvalue)
    seam = compared["methods"]["ours"]["seam"]
    assert (seam["wins"], seam["losses"]) == (1, 2)  # lower is better
    nothing = compared["methods"]["defect"]["psnr_hole_db"]
    assert (nothing["mean"], nothing["ties"], nothing["p_sign"]) == (0.0, 5, None)
    assert "dino" not in compared["metrics"]


def test_the_interval_is_scipys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(20, 3, (2, 60)).tolist()
    folders = (write_output(tmp_path / name, {"ours": v}) for name, v in (("a", old), ("b", new)))
    figure = compare_outputs(*folders, methods=None, seed=0)["methods"]["ours"]["psnr_hole_db"]
    difference = np.subtract(new, old)
    expected = bootstrap((difference,), np.mean, method="percentile", rng=1).confidence_interval
    assert figure["mean"] == pytest.approx(difference.mean())
    assert figure["low"] == pytest.approx(expected.low, abs=0.08)
    assert figure["high"] == pytest.approx(expected.high, abs=0.08)


def test_exchanging_the_outputs_exchanges_the_signs(pair: tuple[Path, Path]) -> None:
    there, back = (
        compare_outputs(*order, methods=["ours"], seed=0)["methods"]["ours"]["psnr_hole_db"]
        for order in (pair, pair[::-1])
    )
    assert back["mean"] == -there["mean"]
    assert (back["wins"], back["losses"]) == (there["losses"], there["wins"])


def test_the_command_prints_and_writes(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compared.json"
    arguments = ["evaluate", "compare", *map(str, pair), "--json", str(file), "--methods", "ours"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "n=4  2 wins, 1 losses, 1 ties" in printed
    assert "+1.000 [" in printed
    assert "defect" not in printed
    assert json.loads(file.read_text())["methods"]["ours"]["psnr_hole_db"]["wins"] == 2


def test_metrics_that_are_defined_differently_are_left_out(tmp_path: Path) -> None:
    first = write_output(tmp_path / "a", {"ours": [1.0]})
    second = write_output(tmp_path / "b", {"ours": [2.0]}, seam="other")
    compared = compare_outputs(first, second, methods=None, seed=0)
    assert set(compared["metrics"]) == {"psnr_hole_db"}
    assert compared["left_out"] == ["seam"]
    assert "seam: left out" in comparison_lines(compared)


def test_what_makes_no_pairs_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_output(tmp_path / "c", {"ours": [1.0]}, digest="two")
    alone = write_output(tmp_path / "d", {"mine": [1.0]})
    first = str(pair[0])
    for second, options, told in (
        (other, [], "hold other cases"),
        (alone, [], "no row in common"),
        (tmp_path, [], "is no output of rba evaluate --bench"),
        (pair[1], ["--methods", "theirs"], "both have ours, defect"),
        (pair[1], ["--json", str(tmp_path / "no" / "file.json")], "--json"),
    ):
        assert main(["evaluate", "compare", first, str(second), *options]) == 2
        assert told in capsys.readouterr().err


def test_without_compare_the_options_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--model", "tiny"]) == 2
    assert "--output, --bench or --objects" in capsys.readouterr().err
