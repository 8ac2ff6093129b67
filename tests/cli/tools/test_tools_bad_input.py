"""The data tools with mistakes in the command: one line, status 2, and nothing written."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

RENDER, MASKS = "render_objects", "synthesize_masks"
PHOTOS, PAIRS = "build_alignment_shards", "build_refinement_shards"
TOOLS = (RENDER, MASKS, PHOTOS, PAIRS)

Run = Callable[..., str]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos, and one object of three views that SIFT can match."""
    folder = tmp_path_factory.mktemp("pictures")
    coarse = np.random.default_rng(0).integers(0, 256, (12, 14, 3), np.uint8)
    picture = cv2.resize(coarse, (140, 120), interpolation=cv2.INTER_CUBIC)
    for name in ("photos", "objects/cup"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(picture[index:, index:]).save(folder / name / f"{index}.png")
    fine = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    face = cv2.resize(fine, (320, 320), interpolation=cv2.INTER_CUBIC)
    for index in range(3):
        turn = cv2.getRotationMatrix2D((160, 160), 10.0 * index, 1.0)
        view = cv2.warpAffine(face, turn, (320, 320))
        Image.fromarray(view).save(folder / "objects" / "cup" / f"{index}.png")
    return folder


@pytest.fixture
def usual(pictures: Path, tmp_path: Path) -> dict[str, list[str]]:
    """A command of each tool that works and takes no time."""
    out = f"out={tmp_path}/out"
    return {
        RENDER: [out, "count=1", "size=32", f"textures={pictures}/photos"],
        MASKS: [out, "count=1", "size=32"],
        PHOTOS: [out, f"images={pictures}/photos", "shortest_side=32"],
        PAIRS: [out, f"objects={pictures}/objects", "min_matches=4"],
    }


@pytest.mark.parametrize("name", TOOLS)
def test_the_usual_command_works(
    run: Run, usual: dict[str, list[str]], tmp_path: Path, name: str
) -> None:
    run(name, *usual[name])
    assert any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", TOOLS)
def test_what_must_be_set_is_named(refusal: Run, name: str) -> None:
    assert "out=VALUE" in refusal(name)


BAD_SETTINGS = [
    *[(name, setting, "no_such_key") for name in TOOLS for setting in ("no_such_key=1",)],
    *[(name, "+no_such_key=1", "unknown setting no_such_key") for name in TOOLS],
    *[(name, "seed=x", "seed=x must be a whole number") for name in TOOLS],
    *[(name, "overwrite=5", "overwrite=5 must be true or false") for name in TOOLS],
    *[(name, "=3", "override") for name in TOOLS],
    (RENDER, "count=x", "count=x"),
    (RENDER, "count=1.5", "count=1.5"),
    (RENDER, "count=-1", "count=-1"),
    (RENDER, "size=8", "size=8"),
    (RENDER, "workers=0", "workers=0"),
    (RENDER, "split=half", "split=half"),
    (RENDER, "shapes=[torus]", "torus"),
    (RENDER, "shapes=[]", "shapes"),
    (RENDER, "fill=3", "fill=3 must be a list"),
    (RENDER, "rotation_degrees=[40,15]", "rotation_degrees (40, 15)"),
    (RENDER, "rotation_degrees=[a,b]", "rotation_degrees=['a', 'b'] must be a list"),
    (RENDER, "roll_degrees=-5", "roll_degrees -5"),
    (RENDER, "smallest_overlap=2", "smallest_overlap 2"),
    (RENDER, "supersampling=1.5", "supersampling=1.5"),
    (RENDER, "light=x", "light=x must be a number"),
    (RENDER, "photo_print_share=2", "photo_print_share=2"),
    (RENDER, "num_photos=3", "photos_out=DIR"),
    (RENDER, "textures=nowhere", "nowhere is not a folder"),
    (MASKS, "count=0", "count=0"),
    (MASKS, "size=8", "size=8"),
    (MASKS, "profile=nowhere", "'nowhere'"),
    (MASKS, "profile=null", "profile=None must be text"),
    (MASKS, "area_factor=0", "area_factor 0"),
    (MASKS, "area_factor=x", "area_factor=x"),
    (PHOTOS, "images=nowhere", "images=nowhere is not a folder"),
    (PHOTOS, "longest_side=0", "longest_side=0"),
    (PHOTOS, "shortest_side=-1", "shortest_side=-1"),
    (PHOTOS, "quality=101", "quality=101"),
    (PHOTOS, "quality=0", "quality=0"),
    (PHOTOS, "samples_per_shard=0", "samples_per_shard=0"),
    (PHOTOS, "longest_side=null", "longest_side=None"),
    (PAIRS, "objects=nowhere", "objects=nowhere is not a folder"),
    (PAIRS, "matcher=magic", "matcher=magic"),
    (PAIRS, "max_pairs=0", "max_pairs=0"),
    (PAIRS, "max_pairs=-1", "max_pairs=-1"),
    (PAIRS, "min_matches=0", "min_matches=0"),
]


@pytest.mark.parametrize(("name", "setting", "words"), BAD_SETTINGS)
def test_a_bad_setting_is_named_and_nothing_is_written(
    refusal: Run,
    usual: dict[str, list[str]],
    tmp_path: Path,
    name: str,
    setting: str,
    words: str,
) -> None:
    assert words in refusal(name, *usual[name], setting)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", TOOLS)
def test_an_output_that_cannot_be_written_is_named(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, name: str
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    assert str(file) in refusal(name, *usual[name], f"out={file}")
    assert f"{file}/inside" in refusal(name, *usual[name], f"out={file}/inside")
    assert file.read_text() == "kept"


@pytest.mark.parametrize("name", TOOLS)
def test_an_earlier_result_is_not_overwritten_unasked(
    run: Run, refusal: Run, usual: dict[str, list[str]], tmp_path: Path, name: str
) -> None:
    run(name, *usual[name])
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert "overwrite=true" in refusal(name, *usual[name])
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert after == before
    run(name, *usual[name], "overwrite=true")


def test_photos_never_clear_the_folder_of_the_objects(
    run: Run, refusal: Run, usual: dict[str, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(RENDER, *usual[RENDER])
    photos = [f"photos_out={out}/../out", "num_photos=1", "overwrite=true"]
    assert "give two folders" in refusal(RENDER, *usual[RENDER], *photos)
    assert (out / "object-000000" / "object.json").is_file()


def test_a_bad_photo_folder_is_found_before_objects_are_rendered(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, pictures: Path
) -> None:
    photos = [f"photos_out={pictures}/photos", "num_photos=1"]
    assert "is not empty" in refusal(RENDER, *usual[RENDER], *photos)
    assert not list((tmp_path / "out").iterdir())


def test_textures_that_are_none(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, pictures: Path
) -> None:
    folder = tmp_path / "textures"
    folder.mkdir()
    assert "holds no image" in refusal(RENDER, *usual[RENDER], f"textures={folder}")
    (folder / "a.png").write_text("no picture")
    assert "a.png cannot be read" in refusal(RENDER, *usual[RENDER], f"textures={folder}")
    Image.new("RGB", (40, 90)).save(folder / "a.png")
    assert "40x90" in refusal(RENDER, *usual[RENDER], f"textures={folder}")
    one = ["split=heldout", f"textures={folder}"]
    assert "at least two" in refusal(RENDER, *usual[RENDER], *one)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "must be a mapping"),
        ("name: x", "missing keys"),
        ("name: x\narea_quantiles: [[0, 0.1], [1, 0.2]]\nfamilies: {noise: 1}", "version 1"),
        ("name: x\ngroups: [{weight: 1, quantiles: much}]", "wrong kind"),
    ],
)
def test_a_profile_that_is_none(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(content)
    assert words in refusal(MASKS, *usual[MASKS], f"profile={path}")


@pytest.mark.parametrize(("name", "key"), [(PHOTOS, "images"), (PAIRS, "objects")])
def test_inputs_without_a_usable_picture(
    refusal: Run, usual: dict[str, list[str]], tmp_path: Path, name: str, key: str
) -> None:
    folder = tmp_path / "in"
    (folder / "cup").mkdir(parents=True)
    assert f"{key}={folder} holds no" in refusal(name, *usual[name], f"{key}={folder}")
    for view in "ab":
        (folder / "cup" / f"{view}.jpg").write_bytes(b"no picture " + view.encode())
    assert "2 x unreadable" in refusal(name, *usual[name], f"{key}={folder}")
    assert not list((tmp_path / "out").glob("*.json"))
    file = folder / "cup" / "a.jpg"
    assert f"{key}={file} is not a folder" in refusal(name, *usual[name], f"{key}={file}")


def test_photos_too_small_or_with_unfit_masks_are_counted(
    run: Run, refusal: Run, usual: dict[str, list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    grey = np.random.default_rng(1).integers(0, 256, (40, 50), np.uint8)
    masks = {"fits": 255, "dark": 90, "empty": 0}
    for name, value in masks.items():
        Image.fromarray(grey).save(folder / f"{name}.png")
        Image.new("L", (50, 40), value).save(folder / f"{name}.mask.png")
    Image.fromarray(grey).save(folder / "other.png")
    Image.new("L", (20, 20), 255).save(folder / "other.mask.png")
    Image.fromarray(grey[:20]).save(folder / "small.png")
    run(PHOTOS, *usual[PHOTOS], f"images={folder}")
    report = json.loads((tmp_path / "out" / "build_report.json").read_text())
    assert report["kept"] == 1
    assert report["dropped"] == {
        "empty object mask": ["empty.png"],
        "mask of another size": ["other.png"],
        "too small": ["small.png"],
        "unreadable mask": ["dark.png"],
    }
    limits = [f"images={folder}", "shortest_side=60", f"out={tmp_path}/none"]
    assert "x too small" in refusal(PHOTOS, *usual[PHOTOS], *limits)


def test_folders_of_numbers_are_folders(
    run: Run, usual: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(MASKS, *usual[MASKS], "out=2024")
    assert (tmp_path / "2024" / "statistics.json").is_file()
