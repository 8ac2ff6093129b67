"""The study's page in headless Chromium, from the first click to the analysis."""

import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rba.cli import main

from .conftest import Study

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
sync_api.expect.set_options(timeout=30_000)  # machines may be busy
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def address(study: Study, rater: int) -> str:
    return f"{(study.folder / 'page' / 'index.html').as_uri()}?rater={rater}"


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab without a network, that asks for nothing but files and makes no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_offline(True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("request", lambda r: r.url.startswith(("file:", "blob:")) or wrong.append(r.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    yield page
    context.close()
    assert wrong == []


def place_of(study: Study, tab: Any, wanted: str) -> int:
    """Where a method's picture stands on the page; in an attention check, where the whole one."""
    shown = [
        image.get_attribute("src").removeprefix("images/")
        for image in tab.locator("#options img").all()
    ]
    for sheet in study.data["plan"]:
        for entry in sheet:
            if entry["images"] == shown:
                line = study.key["questions"][entry["id"]]
                if line["right"] is not None:
                    return line["right"]
                return line["shown"].index(wanted) if wanted in line["shown"] else 0
    raise AssertionError(shown)


def to_the_next_part(tab: Any) -> None:
    tab.locator("#part-button").click()
    sync_api.expect(tab.locator("#question")).to_be_visible()


def answer(study: Study, tab: Any, wanted: str, by: str = "mouse") -> None:
    place = place_of(study, tab, wanted)
    if by == "keys":
        tab.keyboard.press(str(place + 1))
        tab.keyboard.press("Enter")
    else:
        option = tab.locator(".choose").nth(place)
        option.tap() if by == "touch" else option.click()
        tab.locator("#next").click()


def finish(study: Study, tab: Any, wanted: str, by: str = "mouse") -> None:
    for _ in range(100):
        if tab.locator("#end").is_visible():
            return
        if tab.locator("#part").is_visible():
            to_the_next_part(tab)
        answer(study, tab, wanted, by)
    raise AssertionError("the study does not end")


def downloaded(tab: Any, folder: Path) -> Path:
    with tab.expect_download() as wanted:
        tab.locator("#download").click()
    path = folder / wanted.value.suggested_filename
    wanted.value.save_as(path)
    return path


def test_from_the_first_click_to_the_analysis(
    study: Study, tab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tab.goto(address(study, 2))
    tab.locator("#begin-button").click()
    sync_api.expect(tab.locator("#part-title")).to_contain_text("Part 1 of 2")
    to_the_next_part(tab)
    assert tab.locator("#reference-place").is_hidden()
    assert tab.locator("#next").is_disabled()
    for _ in range(3):
        answer(study, tab, "ours")
    tab.locator("#back").click()
    assert tab.locator(".choose[aria-checked=true]").count() == 1
    tab.locator("#next").click()
    sync_api.expect(tab.locator("#count")).to_have_text("4 of 14")

    tab.reload()  # as after a crash: the same place, the same answers
    sync_api.expect(tab.locator("#begin-note")).to_contain_text("3 of 14 questions")
    tab.locator("#begin-button").click()
    sync_api.expect(tab.locator("#count")).to_have_text("4 of 14")
    while tab.locator("#part").is_hidden():
        answer(study, tab, "ours", by="keys")
    sync_api.expect(tab.locator("#part-title")).to_contain_text("Part 2 of 2")
    to_the_next_part(tab)
    assert tab.locator("#reference").evaluate("image => image.naturalWidth") == 40
    tab.locator("figcaption button").first.click()
    sync_api.expect(tab.locator("#large-text")).to_contain_text("Picture A")
    tab.keyboard.press("Escape")
    finish(study, tab, "ours", by="keys")

    path = downloaded(tab, tmp_path)
    assert path.name == f"answers-{study.key['study'][:8]}-rater-2.json"
    said = json.loads(path.read_text())
    assert len(said["answers"]) == 14
    assert all(0 <= entry["seconds"] < 600 for entry in said["answers"])
    output = tmp_path / "report"
    key = str(study.folder / "key.json")
    assert main(["study", "analyze", str(path), "--key", key, "--output", str(output)]) == 0
    report = json.loads((output / "study.json").read_text())
    assert report["raters"] == {"counted": 1, "excluded": [], "repeated": [], "broken": []}
    for section in ("realism", "fidelity"):
        ours = report["sections"][section]["pooled"]["methods"]["ours"]
        assert (ours["chosen"], ours["shown"]) == (4, 4)
    assert "1 raters" in capsys.readouterr().out


def test_two_raters_in_one_browser_are_apart(study: Study, tab: Any) -> None:
    tab.goto(address(study, 1))
    tab.locator("#begin-button").click()
    to_the_next_part(tab)
    answer(study, tab, "ours")
    tab.goto(address(study, 3))
    assert tab.locator("#begin-note").is_hidden()
    tab.locator("#rater").fill("5")
    tab.locator("#begin-button").click()
    sync_api.expect(tab.locator("#begin-note")).to_contain_text("from 1 to 4")
    tab.locator("#rater").fill("1")
    sync_api.expect(tab.locator("#begin-note")).to_contain_text("1 of 14")


def test_a_phone(study: Study, browser: Any, tmp_path: Path) -> None:
    """By touch, everything in reach without sideways scrolling."""
    context = browser.new_context(
        viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True
    )
    tab = context.new_page()
    tab.goto(address(study, 4))
    tab.locator("#begin-button").tap()
    to_the_next_part(tab)
    finish(study, tab, "defect", by="touch")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.locator("#review").tap()
    for selector in ("#reference", ".choose >> nth=0", ".choose >> nth=1", "#next"):
        box = tab.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 780
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_answers_are_posted(build: Callable[..., Study], browser: Any, tmp_path: Path) -> None:
    """A server that fails once: the answers are kept, and sent at the second try."""
    received: list[dict[str, Any]] = []
    tries: list[int] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "Content-Type")
            super().end_headers()

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            tries.append(1)
            if len(tries) > 1:
                received.append(json.loads(body))
            self.send_response(200 if len(tries) > 1 else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    study = build("--raters", "1", "--questions", "3", "--checks", "0", "--post", url)
    context = browser.new_context()
    tab = context.new_page()
    try:
        tab.goto(address(study, 1))
        tab.locator("#begin-button").click()
        finish(study, tab, "other")
        sync_api.expect(tab.locator("#end-note")).to_contain_text("the server said 503")
        tab.locator("#send").click()
        sync_api.expect(tab.locator("#end-note")).to_contain_text("have arrived")
    finally:
        context.close()
        server.shutdown()
        server.server_close()
    assert len(received) == 1
    assert received[0]["study"] == study.key["study"]
    assert len(received[0]["answers"]) == 6
