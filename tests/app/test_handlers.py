"""What the page does when something is dropped or clicked, without a browser."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
import pytest
from PIL import ExifTags, Image

from rba.app.examples import load_examples
from rba.app.matching import AUTOMATIC
from rba.app.page import build_page
from rba.app.refining import Options, Refiner
from rba.app.uploads import Limits
from rba.app.working import NEAR, WHOLE

TAB = gr.Request(session_hash="tab")
Tab = Any  # of conftest


def test_each_step_says_what_is_next(tab: Tab, dropped: Callable[..., str], painted: Any) -> None:
    with pytest.warns(UserWarning, match="Drop the picture"):
        assert "Drop the picture with the defect first" in tab.do(
            tab.working.refine, tab.values(None), TAB
        )
    tab.do(tab.loading.picture, dropped("image.png"), TAB)
    with pytest.warns(UserWarning, match="Paint over"):
        assert "Paint over the defect first" in tab.do(
            tab.working.find, tab.values(painted(box=(0, 0, 0, 0))), TAB
        )
    assert "Drop one or several references" in tab.do(tab.loading.painted, painted(), TAB)
    assert tab.do(tab.loading.painted, painted(), TAB) == "", "said once"
    assert tab.updates == gr.skip(), "an empty dictionary would be shown"
    with pytest.warns(UserWarning, match="Drop a reference"):
        assert 'role="alert"' in tab.do(tab.working.refine, tab.values(painted()), TAB)
    said = tab.do(tab.loading.references, [dropped("a.png")], TAB)
    assert "Ready to refine" in said


def test_refining_aligns_first_and_keeps_everything(loaded: Tab, painted: Any) -> None:
    said = loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    assert "Done in" in said
    assert loaded.session.found is not None
    [kept] = loaded.session.results
    refined = np.asarray(Image.open(kept.picture))
    picture = loaded.session.picture
    assert picture is not None
    with zipfile.ZipFile(kept.archive) as archive:
        assert {"image-refined.png", "artifact_mask.png", "reference.png", "crop.png"} <= {
            *archive.namelist()
        }
        settings = json.loads(archive.read("settings.json"))
        facts = json.loads(archive.read("result.json"))
        weights = np.asarray(Image.open(archive.open("feather_mask.png")))
    assert (settings["model"], settings["steps"], settings["seed"]) == ("random", 2, 0)
    assert facts["max_change_outside_feathered_mask"] == 0
    assert np.array_equal(refined[weights == 0], picture.pixels[weights == 0])
    assert not np.array_equal(refined, picture.pixels)


def test_what_was_found_is_used_until_something_changes(
    loaded: Tab, painted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.do(loaded.working.find, loaded.values(painted()), TAB)
    first = loaded.session.found
    loaded.settings["steps"] = 3
    loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    assert loaded.session.found is first
    loaded.do(loaded.working.refine, loaded.values(painted(box=(5, 5, 20, 20))), TAB)
    assert loaded.session.found is not first
    second = loaded.session.found
    loaded.settings["seed"] = 7
    loaded.do(loaded.working.refine, loaded.values(painted(box=(5, 5, 20, 20))), TAB)
    assert loaded.session.found is not second


def test_a_region_painted_by_hand_is_used(loaded: Tab, painted: Any) -> None:
    loaded.do(loaded.working.find, loaded.values(painted()), TAB)
    shown = loaded.session.region_shown
    assert shown is not None
    untouched = np.zeros((*shown.shape, 4), np.uint8)
    untouched[shown, 3] = 140
    loaded.region = {"layers": [untouched]}
    assert "you painted" not in loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    first = loaded.session.results[-1].archive
    loaded.region = painted(50, 40, box=(0, 0, 12, 12))
    said = loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    assert "The region that you painted on the reference is used" in said
    with zipfile.ZipFile(loaded.session.results[-1].archive) as archive:
        region = np.asarray(Image.open(archive.open("correspondence_mask.png"))) > 0
        assert "correspondence_map.npy" in archive.namelist()
    assert region[:12, :12].all()
    assert region.sum() == 144
    assert first.exists()
    loaded.region = {"layers": []}
    said = loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    assert "you painted" not in said, "erased, so the found one is used again"


def test_the_best_of_several_references_is_used_or_the_chosen_one(
    loaded: Tab, painted: Any, dropped: Callable[..., str]
) -> None:
    two = [dropped("b.png", 40, 60, seed=2), dropped("c.png", seed=3)]
    with pytest.warns(UserWarning, match="At most 2"):
        assert "At most 2 references are taken; 1 were left out" in loaded.do(
            loaded.loading.references, two, TAB
        )
    assert [item.name for item in loaded.session.references] == ["a.png", "b.png"]
    loaded.do(loaded.working.find, loaded.values(painted()), TAB)
    found = loaded.session.found
    assert found is not None
    (match,) = found.matches
    assert len(match.choice.scores) == 2
    assert loaded.matching.used(loaded.session, 0) == int(np.argmax(match.choice.scores))
    for choice, index in (("Reference 2", 1), ("Reference 1", 0)):
        loaded.chosen = choice
        loaded.do(loaded.matching.choose, loaded.values(None), TAB)
        said = loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
        assert f"Reference {index + 1} " in said
        with zipfile.ZipFile(loaded.session.results[-1].archive) as archive:
            assert json.loads(archive.read("result.json"))["defects"][0]["reference"] == index
            shown = np.asarray(Image.open(archive.open(f"reference_{index + 1}.png")))
        assert np.array_equal(shown, loaded.session.references[index].pixels)
    loaded.chosen = AUTOMATIC
    loaded.do(loaded.matching.choose, loaded.values(None), TAB)
    assert loaded.session.chosen == {}
    loaded.do(loaded.loading.remove_references, TAB)
    assert loaded.session.references == ()
    assert loaded.session.found is None


def test_history_goes_back_and_keeps_the_newest(loaded: Tab, painted: Any) -> None:
    for seed in range(3):
        loaded.settings["seed"] = seed
        loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
    kept = loaded.session.results
    assert [item.number for item in kept] == [2, 3]
    assert len(list(loaded.session.folder.glob("result-*"))) == 2
    event = gr.SelectData(None, {"index": 1, "value": None})
    loaded.do(loaded.working.look_back, NEAR, event, TAB)
    assert loaded.session.shown is kept[0]
    loaded.do(loaded.working.view, WHOLE, TAB)
    assert "result-2/whole-after.png" in str(loaded.updates[loaded.parts.result].value)


def test_stopping_changes_nothing(
    loaded: Tab, painted: Any, refiner: Refiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(*_: Any, **__: Any) -> None:
        loaded.working.stop(TAB)

    said = loaded.do(loaded.working.refine, loaded.values(painted()), TAB, progress)
    assert "Stopped. Nothing was changed." in said
    assert 'role="alert"' not in said
    assert loaded.session.results == []
    assert "Done" in loaded.do(loaded.working.refine, loaded.values(painted()), TAB)


def test_a_setting_out_of_range_is_refused_before_anything_is_computed(
    loaded: Tab, painted: Any
) -> None:
    for name, value, words in (
        ("seed", -1, "seed -1"),
        ("seed", None, "A setting is empty"),
        ("steps", 0, "0 sampler steps"),
    ):
        loaded.settings = {"steps": 2, "guidance_scale": 2.0, "seed": 0} | {name: value}
        with pytest.warns(UserWarning, match=words):
            assert words in loaded.do(loaded.working.refine, loaded.values(painted()), TAB)
        assert loaded.session.found is None


def test_a_mask_file_and_examples_take_the_place_of_painting(tab: Tab) -> None:
    for number, example in enumerate(tab.loading.examples):
        updates = tab.loading.load_example(number, "tab")
        assert "Ready to refine" in str(updates[tab.parts.status])
        assert updates[tab.parts.steps] == example.steps
    assert len(tab.loading.examples) == 3
    tab.do(tab.loading.another_picture, TAB)
    assert tab.session.picture is None


def test_tabs_do_not_share_and_leave_no_file(tab: Tab, dropped: Callable[..., str]) -> None:
    other = gr.Request(session_hash="other")
    tab.do(tab.loading.picture, dropped("image.png"), TAB)
    assert tab.sessions.of("other").picture is None
    folder = tab.session.folder
    assert any(folder.iterdir())
    tab.do(tab.loading.picture, dropped("image.png"), other)
    tab.sessions.close("tab")
    assert not folder.exists()
    assert tab.sessions.of("other").picture is not None
    tab.sessions.close_all()


def test_a_file_name_cannot_become_markup(tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x>.png"
    path.write_text("no picture")
    with pytest.warns(UserWarning, match="&lt;img"):
        said = tab.do(tab.loading.picture, str(path), TAB)
    assert "&lt;img src=x&gt;" in said
    assert "<img" not in said


def test_the_page_is_private_and_has_its_limits(refiner: Refiner, environment: Path) -> None:
    page = build_page(
        refiner, environment, options=Options(), limits=Limits(queue=3), examples=load_examples()
    )
    config = page.get_config_file()
    assert config["analytics_enabled"] is False
    assert {item["api_visibility"] for item in config["dependencies"]} == {"private"}
    computing = [fn for fn in page.fns.values() if fn.concurrency_id == "device"]
    assert [fn.concurrency_limit for fn in computing] == [1, 1]
    assert page._queue.max_size == 3
    page.close()


def test_the_download_keeps_the_dropped_files_form(
    tab: Tab, painted: Any, dropped: Callable[..., str], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 4)).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "A. Person"
    Image.fromarray(pixels).save(tmp_path / "clear.png", exif=exif)
    tab.do(tab.loading.picture, str(tmp_path / "clear.png"), TAB)
    tab.do(tab.loading.references, [dropped("a.png", 50, 40, seed=1)], TAB)
    assert "Done" in tab.do(tab.working.refine, tab.values(painted()), TAB)
    with Image.open(tab.session.results[-1].picture) as out:
        assert out.getexif()[ExifTags.Base.Artist] == "A. Person"
        refined = np.asarray(out)
    assert np.array_equal(refined[..., 3], pixels[..., 3])
    assert np.array_equal(refined[:10], pixels[:10]), "far from the mask"
    assert not np.array_equal(refined, pixels)


def test_colours_of_16_bits_are_said_to_be_read_with_8(tab: Tab, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((40, 50, 3), 40_000, np.uint16))
    tab.do(tab.loading.picture, str(tmp_path / "deep.png"), TAB)
    assert "50 x 40 pixels · more than 8 bits a channel are read as 8" in str(
        tab.updates[tab.parts.picture_note]
    )


def test_what_changes_nothing_is_skipped(tab: Tab) -> None:
    # gradio shows an empty dictionary as the value of a single component
    assert tab.do(tab.loading.painted, None, TAB) == ""
    assert tab.updates == gr.skip()
    tab.do(tab.working.view, WHOLE, TAB)
    assert tab.updates == gr.skip()
