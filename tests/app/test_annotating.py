"""What is painted becomes a case that `rba bench check` finds sound; without a browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from rba.app.annotating import Annotating, add_annotation
from rba.app.layout import lay_out
from rba.app.loading import Loading
from rba.app.page import plainly
from rba.app.parts import Parts
from rba.app.refining import Options
from rba.app.session import Sessions
from rba.app.uploads import Limits
from rba.evaluation.bench_check import check_benchmark
from rba.evaluation.benchmark import read_case

TAB = gr.Request(session_hash="tab")


class Page:
    """The page with its annotation section, and what is typed into it."""

    def __init__(self, folder: Path, bench: Path) -> None:
        bench.mkdir()
        sessions = Sessions(folder)
        with gr.Blocks():
            self.parts: Parts = lay_out("random", Options(), Limits(), [])
            self.annotating: Annotating = add_annotation(
                self.parts, sessions, bench, lambda handler: plainly(handler, self.parts)
            )
        self.bench = bench
        self.loading = Loading(self.parts, sessions, Limits(), [])
        self.typed: dict[str, Any] = {"name": "", "task": "try_on", "generator": "IDM-VTON"}

    def mark(self, which: str | None = None) -> str:
        updates = plainly(self.annotating.mark, self.parts)(which, TAB)
        return str(updates.get(self.parts.status, ""))

    def save(self, defect: Any, region: Any, **typed: str) -> str:
        own = self.annotating.own
        values = {self.parts.editor: defect, own.region: region}
        values |= {getattr(own, name): value for name, value in (self.typed | typed).items()}
        updates = plainly(self.annotating.save, self.parts)(values, TAB)
        return str(updates.get(self.parts.status, "") or updates[own.saved])


@pytest.fixture
def page(environment: Path, tmp_path: Path, dropped: Callable[..., str]) -> Page:
    """With a picture and two references loaded."""
    made = Page(environment, tmp_path / "bench")
    made.loading.picture(dropped("my bag (1).png"), TAB)
    files = [dropped("a.png", 50, 40, seed=1), dropped("b.png", 30, 36, seed=2)]
    made.loading.references(files, TAB)
    return made


def test_a_case_with_its_region(page: Page, painted: Any) -> None:
    session = page.annotating.sessions.of("tab")
    assert page.mark("Reference 2") == ""
    said = page.save(painted(), painted(30, 36, (5, 6, 15, 20)))
    assert "Saved as my-bag-1. bench has 1 case." in said
    assert check_benchmark(page.bench).problems == []
    case = read_case(page.bench / "my-bag-1")
    assert (case.task, case.generator) == ("try_on", "IDM-VTON")
    assert session.picture is not None
    assert np.array_equal(case.image, session.picture.pixels)
    expected = np.zeros((60, 80), bool)
    expected[20:34, 30:50] = True
    assert np.array_equal(case.artifact_mask, expected)
    # The marked reference comes first: the form has the region there.
    assert np.array_equal(case.references[0], session.references[1].pixels)
    assert np.array_equal(case.references[1], session.references[0].pixels)
    region = np.zeros((30, 36), np.float32)
    region[5:15, 6:20] = 1
    assert np.array_equal(case.correspondence_mask, region)  # pyright: ignore


def test_without_a_region_it_says_so(page: Page, painted: Any) -> None:
    assert "Saved as x.1 without a matching region." in page.save(painted(), None, name="x.1")
    assert read_case(page.bench / "x.1").correspondence_mask is None
    page.mark()
    nothing = painted(50, 40, (0, 0, 0, 0))
    box = (1, 1, 9, 9)
    assert "without a matching region" in page.save(painted(box=box), nothing, name="y")
    assert "bench has 3 cases" in page.save(painted(box=(2, 2, 8, 8)), nothing, name="z")


def test_names_are_free_and_safe(page: Page, painted: Any) -> None:
    page.save(painted(), None)
    said = page.save(painted(box=(1, 1, 9, 9)), None)
    assert "Saved as my-bag-1-2" in said
    with pytest.warns(UserWarning, match="is there already"):
        assert "give another name" in page.save(painted(), None, name="MY-bag-1")
    for name in ("../up", "a/b", ".hidden", "a\\b", "dot.", "nul\0", "x" * 101):
        with pytest.warns(UserWarning, match="is no name"):
            assert "is no name for a folder" in page.save(painted(), None, name=name)
    assert sorted(path.name for path in page.bench.iterdir()) == ["my-bag-1", "my-bag-1-2"]
    assert sorted(path.name for path in page.bench.parent.iterdir()) == [
        "bench",
        "cache",
        "uploads",
    ]


def test_what_is_missing_is_said(page: Page, painted: Any, dropped: Callable[..., str]) -> None:
    for changed, words in (
        ({"task": ""}, "The task is empty"),
        ({"generator": "  "}, "The generator is empty"),
    ):
        with pytest.warns(UserWarning, match="is empty"):
            assert words in page.save(painted(), None, **changed)
    with pytest.warns(UserWarning, match="Paint over"):
        assert "Paint over the defect first" in page.save(None, None)
    page.mark()
    page.loading.remove_references(TAB)
    with pytest.warns(UserWarning, match="Drop a reference"):
        assert "Drop a reference first" in page.mark()
    page.loading.references([dropped("d.png", 50, 40, seed=4)], TAB)
    with pytest.warns(UserWarning, match="have changed"):
        assert "mark the region again" in page.save(painted(), painted(50, 40, (1, 1, 5, 5)))
    assert list(page.bench.iterdir()) == []
