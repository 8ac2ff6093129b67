"""`measure_masks.py` and `synthesize_masks.py` as typed, on folders as people have them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rba.masks import load_profile, mask_statistics
from rba.pictures import read_image, read_mask

Run = Callable[..., str]


def blot(index: int, height: int = 60, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(index)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(1 + index % 3):
        centre = (int(rng.integers(8, width - 8)), int(rng.integers(8, height - 8)))
        axes = (int(rng.integers(3, 8)), int(rng.integers(2, 6)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def save(mask: np.ndarray, path: Path, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask if form in ("0/1", "palette") else 255 * mask)
    if form == "palette":
        picture = picture.convert("P")
        picture.putpalette([10, 20, 30, 200, 0, 0] + [0] * 750)
    elif form == "alpha":
        shown = np.full((*mask.shape, 4), 200, np.uint8)
        shown[..., 3] = 255 * mask
        picture = Image.fromarray(shown)
    picture.save(path)


FORMS = ("0/1", "0/255", "palette", "alpha")


def test_every_form_of_label_is_measured_alike(run: Run, tmp_path: Path) -> None:
    for k in range(8):
        save(blot(k), tmp_path / "masks" / "deep é" / f"a.b {k}.png", FORMS[k % 4])
    run("measure_masks", f"masks={tmp_path}/masks", f"out={tmp_path}/out", "workers=1")
    found = json.loads((tmp_path / "out" / "statistics.json").read_text())
    wanted = [mask_statistics(blot(k).astype(bool)) for k in range(8)]
    assert found["count"] == 8
    assert found["left_out"] == {}
    for name in ("area_ratio", "num_components", "compactness", "border_distance"):
        assert found[name]["q50"] == pytest.approx(np.median([getattr(s, name) for s in wanted]))
    assert read_image(tmp_path / "out" / "report.png").std() > 10


def test_pals_layout_and_faults_by_name(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "PAL"
    for k, split in enumerate(("train", "train", "val", "test")):
        save(blot(k), root / "labels" / split / f"{k}.png", "0/1")
        save(1 - blot(k), root / "images" / split / f"{k}.png", "0/255")
    save(np.zeros((20, 20), np.uint8), root / "labels" / "val" / "none.png", "0/1")
    save(np.ones((20, 20), np.uint8), root / "labels" / "val" / "all.png", "0/1")
    (root / "labels" / "test" / "broken.png").write_bytes(b"no picture")
    (root / "labels" / "test" / "zero.png").write_bytes(b"")
    Image.new("L", (30, 30), 90).save(root / "labels" / "test" / "dark.png")
    os.symlink(root, root / "labels" / "loop")
    printed = run("measure_masks", f"masks={root}", f"out={tmp_path}/out", "workers=1")
    found = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert found["count"] == 4
    assert found["left_out"] == {
        "covers the whole image": ["labels/val/all.png"],
        "empty": ["labels/val/none.png"],
        "unreadable": [f"labels/test/{name}.png" for name in ("broken", "dark", "zero")],
    }
    assert "3 unreadable" in printed


def test_fit_then_synthesize(run: Run, tmp_path: Path) -> None:
    for k in range(60):
        save(blot(k), tmp_path / "masks" / f"{k}.png", "0/255")
    out = tmp_path / "out"
    printed = run("measure_masks", f"masks={tmp_path}/masks", f"out={out}", "fit=true", "workers=1")
    assert "floor" in printed
    profile = load_profile(out / "profile.yaml")
    assert profile.name == "masks"
    found = json.loads((out / "comparison.json").read_text())
    assert (found["fitted_on"], found["held_out"], found["synthesized"]) == (30, 30, 30)
    assert found["size"] == [60, 80]
    assert found["ks_distance"]["fitted"]["area_ratio"] < 0.4
    assert set(found["ks_distance"]["floor"]) == set(found["ks_distance"]["fitted"])
    assert read_image(out / "comparison.png").std() > 10
    made = (f"out={tmp_path}/made", "count=20", "size=60", "aspect=1.333")
    run("synthesize_masks", *made, f"profile={out}/profile.yaml")
    masks = [read_mask(path) for path in sorted((tmp_path / "made").glob("*.png"))[:20]]
    assert {mask.shape for mask in masks} == {(60, 80)}
    given = np.median([blot(k).mean() for k in range(60)])
    assert np.median([mask.mean() for mask in masks]) == pytest.approx(given, rel=0.5)


def test_results_do_not_depend_on_the_workers(run: Run, tmp_path: Path) -> None:
    for workers in (1, 2):
        out = f"out={tmp_path}/{workers}"
        run("synthesize_masks", out, "count=80", "size=32", f"workers={workers}")
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 82
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    for workers in (1, 2):
        out = f"out={tmp_path}/m{workers}"
        run("measure_masks", f"masks={tmp_path}/1", out, f"workers={workers}")
    assert (tmp_path / "m1/statistics.json").read_bytes() == (
        tmp_path / "m2/statistics.json"
    ).read_bytes()
    found = json.loads((tmp_path / "m1/statistics.json").read_text())
    assert (found["count"], found["left_out"]) == (80, {})  # report.png is no mask


@pytest.mark.parametrize("place", ["inside", "crossing", "detail"])
def test_masks_on_pictures(run: Run, refusal: Run, tmp_path: Path, place: str) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    disc = cv2.circle(np.zeros((50, 70), np.uint8), (30, 25), 18, 1, -1)
    shown = 90 + 100 * np.random.default_rng(0).random((50, 70, 1)) * disc[..., None]
    Image.fromarray(np.repeat(shown.astype(np.uint8), 3, axis=2)).save(pictures / "a.png")
    save(disc, pictures / "a.mask.png", "0/255")
    Image.new("RGB", (40, 40)).save(pictures / "bare.png")
    (pictures / "broken.jpg").write_bytes(b"no picture")
    options = (f"place={place}", f"pictures={pictures}", "count=9", "workers=1")
    run("synthesize_masks", f"out={tmp_path}/out", *options)
    found = json.loads((tmp_path / "out" / "statistics.json").read_text())
    usable = {"a.png", "bare.png"} if place == "detail" else {"a.png"}
    assert set(found["placed_on"].values()) == usable
    assert any(line.startswith("broken.jpg: ") for line in found["skipped_pictures"])
    assert any("bare.png" in line for line in found["skipped_pictures"]) == (place != "detail")
    for name, picture in found["placed_on"].items():
        mask = read_mask(tmp_path / "out" / name)
        if picture == "a.png":
            assert mask.shape == (50, 70)
            assert place == "detail" or (mask & (disc == 1)).any()
            assert place != "inside" or not (mask & (disc == 0)).any()
    (pictures / "a.png").unlink()
    if place != "detail":
        assert "no picture can be used" in refusal(
            "synthesize_masks", f"out={tmp_path}/none", *options
        )


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("measure_masks", ["masks=nowhere"], "nowhere is not a folder"),
        ("measure_masks", ["longest_side=5"], "longest_side=5"),
        ("measure_masks", ["workers=-1"], "workers=-1"),
        ("measure_masks", ["fit=yes please"], "fit"),
        ("synthesize_masks", ["aspect=0"], "aspect=0"),
        ("synthesize_masks", ["workers=-1"], "workers=-1"),
        ("synthesize_masks", ["place=inside"], "pictures"),
        ("synthesize_masks", ["place=nowhere"], "place=nowhere"),
        ("synthesize_masks", ["place=detail", "pictures=nowhere"], "nowhere is not a folder"),
    ],
)
def test_bad_settings_write_nothing(
    refusal: Run, tmp_path: Path, name: str, settings: list[str], words: str
) -> None:
    save(blot(0), tmp_path / "masks" / "0.png", "0/255")
    usual = [f"masks={tmp_path}/masks"] if name == "measure_masks" else ["count=1", "size=32"]
    assert words in refusal(name, f"out={tmp_path}/out", *usual, *settings)
    assert not (tmp_path / "out").exists()


def test_folders_without_a_usable_mask(refusal: Run, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    settings = (f"masks={tmp_path}/masks", f"out={tmp_path}/out", "workers=1")
    assert "holds no image" in refusal("measure_masks", *settings)
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    assert "1 unreadable" in refusal("measure_masks", *settings)
    save(blot(0), tmp_path / "masks" / "b.png", "0/255")
    assert "too few to fit" in refusal("measure_masks", *settings, "fit=true")


def test_an_earlier_result_is_kept(run: Run, refusal: Run, tmp_path: Path) -> None:
    save(blot(0), tmp_path / "masks" / "0.png", "0/255")
    settings = (f"masks={tmp_path}/masks", f"out={tmp_path}/out", "workers=1")
    run("measure_masks", *settings)
    (tmp_path / "out" / "profile.yaml").write_text("name: old")
    assert "overwrite=true" in refusal("measure_masks", *settings)
    run("measure_masks", *settings, "overwrite=true")
    assert not (tmp_path / "out" / "profile.yaml").exists(), "nothing of an earlier fit stays"


def test_synthesized_masks_are_measured_without_their_report(run: Run, tmp_path: Path) -> None:
    run("synthesize_masks", f"out={tmp_path}/made", "count=3", "size=64")
    assert "3 masks" in run("measure_masks", f"masks={tmp_path}/made", f"out={tmp_path}/out")
