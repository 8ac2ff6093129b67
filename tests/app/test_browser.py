"""The page in headless Chromium, driven as a person would: load, paint, refine, look, undo."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rba.app.examples import FOLDER

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
sync_api.expect.set_options(timeout=30_000)  # machines may be busy
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EXAMPLE = sorted(FOLDER.glob("*/case.json"))[0].parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH"),
]


@contextlib.contextmanager
def served(temporary: Path, *options: str, **variables: str) -> Iterator[str]:
    """`rba app` in a process of its own, whose temporary files lie in a folder of the test."""
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "rba.cli", "app", "--model=tiny", "--device=cpu", *options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "The page is at" in line:
                    break
            found = re.search(r"http://[\d.]+:\d+", said)
            assert found, said
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    assert list(temporary.glob("rba-app-*")) == [], "dropped and made files outlive the page"


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(temporary: Path) -> Iterator[str]:
    with served(temporary, "--steps=4", "--guidance-scale=1.5") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A tab of 1280 pixels; every request that it makes must go to this machine."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("#status .notice")
    yield tab
    tab.close()
    assert asked
    own = (address, f"blob:{address}", "data:")
    assert [url for url in asked if not url.startswith(own)] == []


def says(page: Any, words: str) -> None:
    sync_api.expect(page.locator("#status .notice")).to_contain_text(words, timeout=60_000)


def drop(page: Any, zone: str, *files: str | Path) -> None:
    page.locator(f"#{zone} input[type=file]").set_input_files([str(file) for file in files])


def paint(page: Any, editor: str, *, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a stroke; positions in pixels from the middle of the editor."""
    canvas = page.locator(f"#{editor} canvas").last
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the editor fits its picture to the window
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + start[0], y + start[1])
    page.mouse.down()
    page.mouse.move(x + end[0], y + end[1], steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)


def downloaded(page: Any, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_text(name).click()
    return Path(download.value.path()).read_bytes()


def refine(page: Any) -> None:
    page.get_by_role("button", name="Refine", exact=True).click()
    says(page, "Done in")


def test_upload_paint_refine_and_see_the_result(page: Any, tmp_path: Path) -> None:
    drop(page, "drop-picture", EXAMPLE / "image.png")
    says(page, "Paint over the defect")
    page.wait_for_timeout(1500)  # the editor speaks up when it has loaded the picture
    says(page, "Paint over the defect")
    page.get_by_role("button", name="Refine", exact=True).click()
    says(page, "Paint over the defect first")
    paint(page, "paint-defect", start=(-10, 0), end=(30, 20))
    says(page, "Drop one or several references")
    drop(page, "drop-references", EXAMPLE / "reference.png")
    sync_api.expect(page.locator("#references img")).to_have_count(1)
    refine(page)
    for picture in page.locator("#result img").all():
        assert picture.evaluate("image => image.naturalWidth") == 256
    before = np.asarray(Image.open(EXAMPLE / "image.png").convert("RGB")).astype(int)
    after = np.asarray(Image.open(io.BytesIO(downloaded(page, "Download the picture")))).astype(int)
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "Download everything"))) as archive:
        names = set(archive.namelist())
        mask = np.asarray(Image.open(io.BytesIO(archive.read("artifact_mask.png")))) > 0
        feather = np.asarray(Image.open(io.BytesIO(archive.read("feather_mask.png")))) > 0
        settings = json.loads(archive.read("settings.json"))
    assert {"image-refined.png", "panel.png", "result.json", "correspondence_map.npy"} <= names
    assert settings["steps"] == 4
    # Where the stroke was: from the middle of the picture to the right and down.
    rows, columns = np.nonzero(mask)
    assert 128 <= rows.mean() < 145
    assert 128 <= columns.mean() < 145
    assert 0.005 < mask.mean() < 0.1
    changed = np.abs(after - before).max(axis=2) > 0
    assert changed[mask].mean() > 0.5
    assert not changed[~feather].any()


def test_undo_erase_and_clear_take_the_painting_away_and_keep_the_picture(page: Any) -> None:
    drop(page, "drop-picture", EXAMPLE / "image.png")
    drop(page, "drop-references", EXAMPLE / "reference.png")
    says(page, "Paint over")
    editor = page.locator("#paint-defect")
    for take_away in ("Undo", "Clear canvas"):
        paint(page, "paint-defect", start=(0, 0), end=(40, 0))
        says(page, "Ready to refine")
        editor.get_by_role("button", name=take_away).click()
        page.wait_for_timeout(1500)
        page.get_by_role("button", name="Refine", exact=True).click()
        says(page, "Paint over the defect first")
    editor.get_by_role("button", name="Zoom in").click()
    paint(page, "paint-defect", start=(0, 0), end=(40, 0))
    says(page, "Ready to refine")
    refine(page)


def test_the_region_is_found_on_several_references_and_corrected_by_hand(page: Any) -> None:
    page.locator("#examples button").first.click()
    says(page, "Ready to refine")
    other = sorted(FOLDER.glob("*/case.json"))[1].parent
    drop(page, "drop-references", other / "reference.png")
    sync_api.expect(page.locator("#references img")).to_have_count(2)
    page.get_by_role("button", name="Find the region").click()
    says(page, "of the attention lies in the region")
    sync_api.expect(page.locator("#maps button img")).to_have_count(2)
    page.get_by_label("Reference 1", exact=True).check()
    page.wait_for_timeout(1500)
    refine(page)
    says(page, "Reference 1 is used")
    paint(page, "paint-region", start=(-60, -60), end=(60, -60))
    refine(page)
    says(page, "The region that you painted on reference 1 is used")
    sync_api.expect(page.locator("#history button img")).to_have_count(2)
    page.get_by_label("Around the defect").check()
    page.locator("#history button").last.click()
    page.wait_for_timeout(500)
    assert page.locator("#result img").first.evaluate("image => image.naturalWidth") >= 500


def test_defects_of_one_mask_have_their_own_references(page: Any, tmp_path: Path) -> None:
    first, second = (path.parent for path in sorted(FOLDER.glob("*/case.json"))[:2])
    for name in ("image.png", "mask.png"):
        beside = [np.asarray(Image.open(folder / name)) for folder in (first, second)]
        Image.fromarray(np.hstack(beside)).save(tmp_path / name)
    drop(page, "drop-picture", tmp_path / "image.png")
    says(page, "Paint over")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Mask from a file").click()
    chooser.value.set_files(tmp_path / "mask.png")
    says(page, "Drop one or several references")
    for number, folder in enumerate((first, second)):
        reference = Image.open(folder / "reference.png").convert("RGB")
        reference.putalpha(Image.open(folder / "reference_mask.png").convert("L"))
        reference.save(tmp_path / f"{number}.png")
    drop(page, "drop-references", tmp_path / "0.png", tmp_path / "1.png")
    sync_api.expect(page.locator("#references img")).to_have_count(2)
    refine(page)
    says(page, "2 defects, the largest first")
    cards = page.locator("#defects button")
    sync_api.expect(cards).to_have_count(2)
    cards.nth(1).click()
    sync_api.expect(page.get_by_text("Maps for defect 2")).to_be_visible()
    page.get_by_label("Reference 1", exact=True).check()
    sync_api.expect(cards.nth(1)).to_contain_text("2 · reference 1")
    refine(page)
    says(page, "2: reference 1 (")
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "Download everything"))) as archive:
        facts = json.loads(archive.read("result.json"))
        assert "defect_2/panel.png" in archive.namelist()
    assert facts["defects"][1]["reference"] == 0


@pytest.mark.parametrize("zone", ["drop-picture", "drop-references"])
def test_wrong_files_are_refused_in_one_sentence(page: Any, tmp_path: Path, zone: str) -> None:
    lying = tmp_path / "lying <b>.png"
    lying.write_text("no picture at all")
    drop(page, zone, lying)
    says(page, "“lying b.png” cannot be read as a picture")
    sync_api.expect(page.get_by_text("Warning", exact=True)).to_be_visible()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "small.png")
    drop(page, zone, tmp_path / "small.png")
    says(page, "“small.png” is only 4 x 4 pixels")
    drop(page, zone, EXAMPLE / "image.png")
    if zone == "drop-picture":
        says(page, "Paint over the defect")
    else:
        sync_api.expect(page.locator("#references img")).to_have_count(1)


def test_a_large_picture_keeps_its_size(page: Any, tmp_path: Path) -> None:
    large = Image.open(EXAMPLE / "image.png").convert("RGB").resize((3000, 2000))
    large.save(tmp_path / "large.jpg")
    drop(page, "drop-picture", tmp_path / "large.jpg")
    sync_api.expect(page.get_by_text("3000 x 2000 pixels")).to_be_visible()
    drop(page, "drop-references", EXAMPLE / "reference.png")
    paint(page, "paint-defect", start=(0, 0), end=(30, 0))
    refine(page)
    after = Image.open(io.BytesIO(downloaded(page, "Download the picture")))
    assert after.size == (3000, 2000)


def test_stop_changes_nothing_and_the_page_goes_on(page: Any) -> None:
    page.locator("#examples button").first.click()
    says(page, "Ready to refine")
    page.get_by_role("button", name="Settings").click()
    steps = page.get_by_label("number input for Steps")
    steps.fill("200")
    steps.blur()
    page.get_by_role("button", name="Refine", exact=True).click()
    sync_api.expect(page.get_by_text("Refining")).to_be_visible(timeout=30_000)
    assert page.get_by_role("button", name="Working").is_disabled()
    page.get_by_role("button", name="Stop").click()
    says(page, "Stopped. Nothing was changed.")
    steps.fill("2")
    steps.blur()
    refine(page)


def test_nothing_sticks_out_of_a_narrow_window(browser: Any, address: str) -> None:
    tab = browser.new_page(viewport={"width": 400, "height": 850})
    tab.goto(address)
    tab.locator("#examples button").first.click()
    says(tab, "Ready to refine")
    refine(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.close()


def test_a_closed_tab_leaves_no_file_behind(browser: Any, address: str, temporary: Path) -> None:
    def sessions() -> list[Path]:
        return list(temporary.glob("rba-app-*/session-*"))

    before = set(sessions())
    tab = browser.new_page()
    tab.goto(address)
    drop(tab, "drop-picture", EXAMPLE / "image.png")
    says(tab, "Paint over the defect")
    [mine] = set(sessions()) - before
    assert [path for path in temporary.rglob("image.png") if mine not in path.parents] == []
    tab.close()
    for _ in range(100):
        if not mine.exists():
            break
        browser.contexts or browser.new_page().wait_for_timeout(200)
    assert not mine.exists()


def test_a_password_keeps_others_out(browser: Any, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("anna:violet:7\n")
    with served(tmp_path / "temporary", f"--password-file={secret}") as url:
        tab = browser.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        for password in ("wrong", "violet:7"):
            tab.get_by_label("username").fill("anna")
            tab.get_by_label("password").fill(password)
            tab.get_by_role("button", name="Login").click()
            tab.wait_for_timeout(1500)
            shown = tab.get_by_role("button", name="Refine", exact=True).count()
            assert shown == (password == "violet:7")
        tab.close()
        assert [u for u in asked if not u.startswith((url, f"blob:{url}", "data:"))] == []
