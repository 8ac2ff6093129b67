"""The report's page: one file that asks for nothing else, with every figure and escaped words."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.evaluation.bench_metrics import bench_figures, read_row
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.html_gallery import galleries
from rba.evaluation.html_report import write_html
from rba.evaluation.methods import Defect, Method, MethodResult
from rba.evaluation.result_files import ResultFolder
from rba.evaluation.scoring import ScoringSettings, make_metrics, score_result

METRICS = make_metrics(ScoringSettings(reference_side=64))
TRICK = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Collects what the page asks for, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def cases(bench: Path) -> CaseSet:
    return open_case_set(bench)


@pytest.fixture
def made(cases: CaseSet, tmp_path: Path) -> tuple[list[Any], dict[str, ResultFolder]]:
    """The defect, and as ours the truth with a grey level more for each case."""
    methods: list[Method] = [
        Defect(),
        dataclasses.replace(Defect(), name="ours", description=TRICK),
    ]
    folders = {item.name: ResultFolder(tmp_path / "methods" / item.name) for item in methods}
    for facts in cases.cases:
        case = cases.read(facts)
        clean = case.image if case.truth is None else case.truth
        close = np.clip(clean.astype(int) + 4 * facts.number, 0, 255).astype(np.uint8)
        mended = np.where(case.artifact_mask[..., None], close, case.image)
        region = np.ones(case.references[0].shape[:2], bool)
        for name, result in {
            "defect": MethodResult(image=case.image),
            "ours": MethodResult(image=mended, region=region),
        }.items():
            folders[name].write(facts.id, result, score_result(METRICS, case, result), "")
    return [read_row(item, folders[item.name], cases) for item in methods], folders


def test_the_page_is_whole_and_asks_for_nothing(
    cases: CaseSet, made: tuple[list[Any], dict[str, ResultFolder]], tmp_path: Path
) -> None:
    rows, folders = made
    figures = bench_figures(rows, cases, METRICS, left_out={"oracle_region": TRICK}, seed=0)
    write_html(tmp_path, figures, rows, cases, folders)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags == []
    assert all(re.match(r"data:image/(png|jpeg);base64,|#", source) for source in page.sources)
    assert not re.search(r"url\(|@import|https?://", text)
    assert TRICK not in text
    assert any(TRICK in data for data in page.text)
    words = " ".join(page.text)
    assert f"{figures['methods']['ours']['pooled']['psnr_hole_db']['mean']:.2f}" in words
    assert "Not computed: no weights" in words
    before = (tmp_path / "report.html").read_bytes()
    write_html(tmp_path, figures, rows, cases, folders)
    assert (tmp_path / "report.html").read_bytes() == before


def test_the_galleries_are_sorted_by_what_ours_gained(
    cases: CaseSet, made: tuple[list[Any], dict[str, ResultFolder]]
) -> None:
    told, shown = galleries(*made[:1], cases, made[1])
    assert told == "PSNR in the hole, ours minus the defect, dB"
    gains = [float(case.caption.split()[-1]) for case in shown["Best"]]
    assert gains == sorted(gains, reverse=True)
    worst = [float(case.caption.split()[-1]) for case in shown["Worst"]]
    assert worst == sorted(worst)
    assert {case.id for case in shown["Best"]} == {facts.id for facts in cases.cases[:4]}
    titles = [picture.title for picture in shown["Best"][0].pictures]
    assert titles == ["image", "reference", "truth", "defect", "ours"]
    assert galleries(made[0][:1], cases, made[1]) == ("", {})
