"""Answers and what they say: made raters with known tastes, and every way to spoil a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rba.cli import main

from .conftest import Study

Sheet = dict[str, Any]


def sheet(study: Study, rater: int, taste: Callable[[dict[str, Any]], int]) -> Sheet:
    """Answer all questions of a rater; attention checks rightly."""
    answers: list[dict[str, Any]] = []
    for entry in study.data["plan"][rater - 1]:
        line = study.key["questions"][entry["id"]]
        choice = taste(line) if line["right"] is None else line["right"]
        answers.append({"question": entry["id"], "choice": choice, "seconds": 2.5})
    return {
        "schema": 1,
        "study": study.key["study"],
        "rater": rater,
        "session": f"s{rater}",
        "started": f"2026-01-0{rater}T00:00:00Z",
        "finished": None,
        "answers": answers,
    }


def likes_ours(line: dict[str, Any]) -> int:
    """Ours before other before the defect."""
    return min(
        range(len(line["shown"])),
        key=lambda place: ("ours", "other", "defect").index(line["shown"][place]),
    )


def analyzed(study: Study, folder: Path, *options: str) -> dict[str, Any]:
    arguments = ["study", "analyze", str(folder), "--key", str(study.folder / "key.json")]
    assert main([*arguments, "--output", str(folder / "report"), *options]) == 0
    return json.loads((folder / "report" / "study.json").read_text())


def save(folder: Path, name: str, content: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_one_taste(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rater in range(1, 5):
        save(tmp_path, f"r{rater}", sheet(study, rater, likes_ours))
    report = analyzed(study, tmp_path)
    assert report["raters"] == {"counted": 4, "excluded": [], "repeated": [], "broken": []}
    for section in ("realism", "fidelity"):
        scopes = report["sections"][section]
        assert list(scopes) == ["pooled", "customization", "try_on"]
        pooled = scopes["pooled"]
        ours, defect, other = (pooled["methods"][m] for m in ("ours", "defect", "other"))
        assert (ours["chosen"], ours["shown"], ours["rate"]) == (16, 16, 1.0)
        assert (other["chosen"], other["shown"]) == (8, 16)
        assert defect["rate"] == 0.0
        assert ours["bootstrap_over_raters"] == [1.0, 1.0]
        assert 0.7 < ours["wilson"][0] < 0.85
        assert pooled["agreement"] == {"krippendorff_alpha": 1.0, "units": 6, "ratings": 12}
        for pair in pooled["pairs"]:
            assert {pair["first_chosen"], pair["second_chosen"]} == {0, 8}
            assert pair["p"] == pytest.approx(2 / 2**8)
            assert pair["p_holm"] == pytest.approx(6 / 2**8)
        by_task = [scopes[task]["methods"]["ours"]["shown"] for task in ("customization", "try_on")]
        assert sum(by_task) == 16
    out = capsys.readouterr().out
    assert out.startswith("# User study: 4 raters")
    assert "| ours | 100.0% [" in out
    rows = (tmp_path / "report" / "answers.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 12
    assert rows[0] == "rater,section,case,task,generator,shown,chosen,seconds"
    assert (tmp_path / "report" / "study.md").read_text() in out


def test_the_side_alone_is_no_taste(study: Study, tmp_path: Path) -> None:
    """Who always takes the left one favours no method: that is what balance is for."""
    for rater in range(1, 5):
        save(tmp_path, f"r{rater}", sheet(study, rater, lambda line: 0))
    report = analyzed(study, tmp_path)
    for section in ("realism", "fidelity"):
        for pair in report["sections"][section]["pooled"]["pairs"]:
            assert pair["first_chosen"] == pair["second_chosen"] == 4
            assert pair["p"] == 1.0


def test_sets(build: Callable[..., Study], tmp_path: Path) -> None:
    study = build("--at-once", "all", "--raters", "2", "--questions", "6")
    for rater in (1, 2):
        save(tmp_path, f"r{rater}", sheet(study, rater, likes_ours))
    pooled = analyzed(study, tmp_path)["sections"]["realism"]["pooled"]
    assert pooled["methods"]["ours"] == {
        "chosen": 12,
        "shown": 12,
        "rate": 1.0,
        "wilson": pooled["methods"]["ours"]["wilson"],
        "bootstrap_over_raters": [1.0, 1.0],
    }
    rest = next(p for p in pooled["pairs"] if {p["first"], p["second"]} == {"defect", "other"})
    assert (rest["rate"], rest["wilson"], rest["p"]) == (None, [None, None], 1.0)


def test_failed_checks_copies_and_second_sessions(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = sheet(study, 1, likes_ours)
    save(tmp_path, "one", good)
    save(tmp_path, "one-copy", good)
    save(tmp_path, "one-early", good | {"answers": good["answers"][:5]})
    save(tmp_path, "one-again", good | {"session": "x", "started": "2026-02-01T00:00:00Z"})
    careless = sheet(study, 2, likes_ours)
    for answer in careless["answers"]:
        right = study.key["questions"][answer["question"]]["right"]
        if right is not None:
            answer["choice"] = 1 - right
    save(tmp_path, "two", careless)
    blind = sheet(study, 3, likes_ours)
    blind["answers"] = [
        a for a in blind["answers"] if study.key["questions"][a["question"]]["right"] is None
    ]
    save(tmp_path, "three", blind)
    report = analyzed(study, tmp_path)
    raters = report["raters"]
    assert raters["counted"] == 1
    assert raters["excluded"] == [
        "rater 2 (two.json): failed 2 of 2 attention checks",
        "rater 3 (three.json): answered no attention check",
    ]
    assert len(raters["repeated"]) == 3
    assert sum("a copy of rater 1" in line for line in raters["repeated"]) == 2
    assert "one-again.json: a second session of rater 1" in " ".join(raters["repeated"])
    assert report["sections"]["realism"]["pooled"]["methods"]["ours"]["shown"] == 4
    assert "2 excluded for attention checks" in capsys.readouterr().out
    (tmp_path / "report" / "study.json").unlink()
    assert analyzed(study, tmp_path, "--allowed-failures", "2")["raters"]["counted"] == 2


def spoil(**changed: object) -> Callable[[Sheet], object]:
    return lambda good: good | changed


def spoil_answer(**changed: object) -> Callable[[Sheet], object]:
    return lambda good: good | {"answers": [good["answers"][0] | changed]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: [], "holds no JSON object"),
        (lambda good: {}, "holds no answers of a study"),
        (spoil(schema=2), "holds no answers of a study"),
        (spoil(study="other"), "is of study other"),
        (spoil(rater="1"), "rater '1' is no number"),
        (spoil(rater=2), "was not put to rater 2"),
        (spoil(answers={}), "answers no list"),
        (spoil(answers=[3]), "3 is no answer"),
        (spoil_answer(question="abc"), "question 'abc' was not put to rater 1"),
        (spoil_answer(question=[1]), "was not put to rater 1"),
        (spoil_answer(choice=2), "choice 2 of question"),
        (spoil_answer(choice=True), "choice True of question"),
        (spoil_answer(seconds=-1), "seconds -1"),
        (spoil_answer(seconds=float("nan")), "seconds nan"),
    ],
)
def test_broken_files_are_named(
    study: Study, tmp_path: Path, damage: Callable[[Sheet], object], message: str
) -> None:
    good = sheet(study, 1, likes_ours)
    save(tmp_path, "bad", damage(good))
    save(tmp_path, "good", good)
    broken = analyzed(study, tmp_path)["raters"]["broken"]
    assert len(broken) == 1
    assert "bad.json" in broken[0]
    assert message in broken[0]


def test_mistakes_are_refused(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, output = str(study.folder / "key.json"), str(tmp_path / "report")

    def refused(*arguments: str) -> str:
        assert main(["study", "analyze", *arguments, "--output", output]) == 2
        assert not Path(output).exists()
        return capsys.readouterr().err

    assert "holds no answers" in refused(str(tmp_path), "--key", key)
    (tmp_path / "bad.json").write_text("{")
    assert "is not readable JSON" in refused(str(tmp_path), "--key", key)
    (tmp_path / "empty.json").write_text("{}")
    assert "no key of a study" in refused(str(tmp_path), "--key", str(tmp_path / "empty.json"))
    assert "does not exist" in refused(str(tmp_path), "--key", str(tmp_path / "no.json"))
    careless = sheet(study, 1, likes_ours)
    careless["answers"] = careless["answers"][:0]
    save(tmp_path, "bad", careless)
    (tmp_path / "empty.json").unlink()
    assert "no rater is left" in refused(str(tmp_path), "--key", key)
    assert "give 0 or more" in refused(str(tmp_path), "--key", key, "--allowed-failures", "-1")
