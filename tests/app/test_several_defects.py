"""A mask of several defects on the page: mended as by the pipeline, each after its reference."""

import json
import zipfile
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from rba.app.refining import Options, Refiner

TAB = gr.Request(session_hash="tab")
Tab = Any  # of conftest
pytestmark = pytest.mark.usefixtures("environment")


def chosen_defect(number: int) -> gr.SelectData:
    return gr.SelectData(None, {"index": number, "value": None})


@pytest.fixture
def apart(painted: Any) -> dict[str, Any]:
    """Two strokes far from each other; the lower one is larger."""
    strokes = painted(box=(4, 4, 10, 12))
    strokes["layers"] += painted(box=(40, 50, 54, 70))["layers"]
    return strokes


@pytest.fixture
def two(refiner: Refiner, tab: Tab, dropped: Callable[..., str]) -> Tab:
    """A tab with a picture and two references."""
    tab.do(tab.loading.picture, dropped("image.png"), TAB)
    names = [dropped("a.png", 50, 40, seed=1), dropped("b.png", 40, 60, seed=2)]
    tab.do(tab.loading.references, names, TAB)
    return tab


def refined(tab: Tab) -> np.ndarray:
    return np.asarray(Image.open(tab.session.results[-1].picture))


def test_the_page_gives_what_the_pipeline_gives(two: Tab, apart: Any, refiner: Refiner) -> None:
    said = two.do(two.working.refine, two.values(apart), TAB)
    picture = two.session.picture
    assert picture is not None
    mask = np.any([layer[..., 3] > 0 for layer in apart["layers"]], axis=0)
    expected = refiner.pipeline(
        picture.pixels,
        mask,
        [item.pixels for item in two.session.references],
        num_inference_steps=2,
        guidance_scale=2.0,
        output_type="np",
    )
    (result,) = expected.results
    assert np.array_equal(refined(two), result.image)
    assert "2 defects, the largest first" in said
    for number, defect in enumerate(result.defects, 1):
        assert f"{number}: reference {defect.choice.index + 1} (" in said
    with zipfile.ZipFile(two.session.results[-1].archive) as archive:
        names = archive.namelist()
        facts = json.loads(archive.read("result.json"))
    assert {"defect_1/panel.png", "defect_2/crop.png", "reference_2.png"} <= {*names}
    assert [item["reference"] for item in facts["defects"]] == [
        item.choice.index for item in result.defects
    ]


def test_each_defect_has_its_own_reference_and_region(two: Tab, apart: Any) -> None:
    said = two.do(two.working.find, two.values(apart), TAB)
    assert "2 defects" in said
    cards = two.updates[two.parts.defects].value
    captions = [card["caption"] for card in cards]
    assert [caption.split(" · ")[0] for caption in captions] == ["1", "2"]
    other = 1 - two.matching.used(two.session, 1)
    two.do(two.matching.look_at, None, chosen_defect(1), TAB)
    two.chosen = f"Reference {other + 1}"
    two.do(two.matching.choose, two.values(apart), TAB)
    assert two.session.chosen == {1: other}
    size = two.session.references[other].size
    own = np.zeros((*size, 4), np.uint8)
    own[5:20, 5:20] = (40, 120, 255, 140)
    two.region = {"layers": [own]}
    said = two.do(two.working.refine, two.values(apart), TAB)
    assert f"2: reference {other + 1} (your region)" in said
    with zipfile.ZipFile(two.session.results[-1].archive) as archive:
        facts = json.loads(archive.read("result.json"))
        region = np.asarray(Image.open(archive.open("defect_2/correspondence_mask.png"))) > 0
    assert facts["defects"][1]["reference"] == other
    assert region.shape == size
    assert region.sum() == 225
    assert two.session.results[-1].whole[0].is_file()
    first = refined(two)
    two.do(two.matching.look_at, two.region, chosen_defect(0), TAB)
    two.region = None
    two.do(two.working.refine, two.values(apart), TAB)
    assert np.array_equal(refined(two), first), "looking at another defect changes nothing"


def test_what_was_found_comes_out_as_when_looked_for(two: Tab, apart: Any) -> None:
    two.do(two.working.refine, two.values(apart), TAB)
    first = refined(two)
    two.do(two.working.refine, two.values(apart), TAB)
    assert np.array_equal(refined(two), first)


def test_a_choice_stays_with_its_defect_when_the_mask_changes(two: Tab, apart: Any) -> None:
    two.do(two.working.find, two.values(apart), TAB)
    wanted = 1 - two.matching.used(two.session, 1)
    two.do(two.matching.look_at, None, chosen_defect(1), TAB)
    two.chosen = f"Reference {wanted + 1}"
    two.do(two.matching.choose, two.values(apart), TAB)
    small = {**apart, "layers": apart["layers"][:1]}  # the defect that came second, alone
    two.do(two.working.refine, two.values(small), TAB)
    assert two.session.chosen == {0: wanted}
    large = {**apart, "layers": apart["layers"][1:]}
    two.do(two.working.refine, two.values(large), TAB)
    assert two.session.chosen == {}


def test_parts_can_be_taken_as_one_defect(two: Tab, apart: Any, refiner: Refiner) -> None:
    two.settings["separate"] = False
    two.do(two.working.refine, two.values(apart), TAB)
    found = two.session.found
    assert found is not None
    assert len(found.matches) == 1
    assert refiner.settings(Options()).defect_distance == pytest.approx(0.1)
    assert refiner.settings(Options(separate=False)).defect_distance is None
