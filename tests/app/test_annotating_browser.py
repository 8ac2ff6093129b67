"""`rba app --annotate DIR` in headless Chromium: paint twice, choose, save; the check passes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.evaluation.bench_check import check_benchmark
from rba.evaluation.benchmark import read_case

from .test_browser import (
    CHROMIUM,
    EXAMPLE,
    browser,  # noqa: F401  a fixture
    drop,
    paint,
    says,
    served,
    sync_api,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH"),
]


@pytest.fixture
def annotated(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    bench = tmp_path / "bench"
    with served(tmp_path / "temporary", f"--annotate={bench}") as url:
        yield url, bench


def choose(tab: Any, label: str, option: str) -> None:
    tab.get_by_label(label, exact=True).click()
    tab.get_by_role("option", name=option, exact=True).click()


def test_two_cases_are_painted_and_kept(browser: Any, annotated: tuple[str, Path]) -> None:  # noqa: F811
    url, bench = annotated
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(url)
    drop(tab, "drop-picture", EXAMPLE / "image.png")
    says(tab, "Paint over the defect")
    paint(tab, "paint-defect", start=(-20, 0), end=(20, 10))
    drop(tab, "drop-references", EXAMPLE / "reference.png")
    says(tab, "Ready to refine")
    tab.locator("#mark-region").click()
    tab.wait_for_timeout(1500)
    paint(tab, "paint-truth", start=(-30, 20), end=(30, 20))
    choose(tab, "Task", "composition")
    choose(tab, "Generator", "AnyDoor")
    tab.locator("#save-case").click()
    saved = tab.locator("#saved .notice")
    sync_api.expect(saved).to_contain_text("Saved as image. bench has 1 case.", timeout=60_000)

    tab.get_by_label("Name", exact=True).fill("image")
    tab.locator("#save-case").click()
    says(tab, "“image” is there already; give another name.")
    tab.get_by_label("Name", exact=True).fill("second one")
    paint(tab, "paint-defect", start=(0, 60), end=(30, 60))
    tab.locator("#save-case").click()
    sync_api.expect(saved).to_contain_text("Saved as second one. bench has 2 cases.")
    tab.close()

    summary = check_benchmark(bench)
    assert (summary.problems, summary.remarks, summary.cases) == ([], [], 2)
    assert summary.tasks == {"composition": 2}
    assert summary.generators == {"AnyDoor": 2}
    case = read_case(bench / "image")
    assert case.correspondence_mask is not None
    rows, _ = np.nonzero(case.correspondence_mask)
    assert rows.mean() > case.correspondence_mask.shape[0] / 2  # painted below the middle
    assert 0.005 < case.correspondence_mask.mean() < 0.2
    assert json.loads((bench / "image" / "case.json").read_text())["id"] == "image"
    larger = read_case(bench / "second one").artifact_mask
    assert (larger & case.artifact_mask).sum() == case.artifact_mask.sum() < larger.sum()
