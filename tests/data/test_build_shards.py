import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rba.data.build import DroppedError, bound_size, sample_key
from rba.data.photo_lists import list_photos
from rba.data.sample import decode_record
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.settings import compose_config

# Whatever it looks like: the pictures below are all of one motive.
ALL = ["near_distance=-1", "min_sharpness=0", "min_contrast=0"]
TOOLS = Path(__file__).parents[2] / "data_tools"


def run_tool(name, *overrides):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(compose_config(f"data_tools/{name}", overrides))


def records(folder):
    shards = ShardSet.open(folder)
    return [
        decode_record(shards.kind, *shards.read(number, index))
        for number, size in enumerate(shards.sizes)
        for index in range(size)
    ]


@pytest.fixture
def photos(make, tmp_path):
    """One photo of each kind that people have, and some that cannot be used."""
    folder = tmp_path / "photos 'ä'"
    (folder / "deep").mkdir(parents=True)
    picture = make.picture(60, 90)
    Image.fromarray(picture).save(folder / "plain.photo.jpg", quality=95)
    Image.fromarray(picture[..., 0]).save(folder / "grey.png")
    Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(folder / "deep" / "sixteen.png")
    alpha = np.full((60, 90, 1), 255, np.uint8)
    alpha[:, :40] = 0
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(picture).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(picture).save(folder / "masked.jpg")
    Image.fromarray((alpha[..., 0] > 0).astype(np.uint8)).save(folder / "masked.mask.png")
    Image.fromarray(picture[:20, :20]).save(folder / "small.png")
    Image.fromarray(picture).save(folder / "odd.jpg")
    Image.fromarray(alpha[:9, :9, 0]).save(folder / "odd.mask.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder


def test_photos_of_all_kinds(photos, tmp_path, capsys):
    out = tmp_path / "out"
    settings = [*ALL, "shortest_side=40", "longest_side=45", "samples_per_shard=4"]
    run_tool("build_alignment_shards", f'images="{photos}"', f"out={out}", *settings)
    found = {record.metadata["source"]: record for record in records(out)}
    assert set(found) == {"plain.photo.jpg", "grey.png", "deep/sixteen.png", "alpha.png",
                          "turned.jpg", "masked.jpg"}  # fmt: skip
    assert found["plain.photo.jpg"].image.shape == (30, 45, 3)
    assert found["turned.jpg"].image.shape == (45, 30, 3)
    grey, sixteen = found["grey.png"].image.astype(int), found["deep/sixteen.png"].image.astype(int)
    assert np.abs(grey - sixteen).max() <= 2
    for name in ("alpha.png", "masked.jpg"):
        mask = found[name].mask
        assert mask.shape == (30, 45)
        assert not mask[:, :19].any()
        assert mask[:, 21:].all()
    report = json.loads((out / "build_report.json").read_text())
    assert report["kept"] == 6
    assert report["dropped"] == {
        "empty file": ["empty.png"],
        "linked folder": ["loop"],
        "mask of another size": ["odd.jpg"],
        "too small": ["small.png"],
        "unreadable": ["broken.jpg"],
    }
    assert "broken.jpg" in capsys.readouterr().out


def test_same_photos_give_the_same_bytes_and_the_seed_shuffles(photos, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = [*ALL, "shortest_side=1", f"seed={seed}"]
        run_tool(
            "build_alignment_shards", f'images="{photos}"', f"out={tmp_path / name}", *settings
        )

    def tar(name):
        return (tmp_path / name / "alignment-000000.tar").read_bytes()

    assert tar("a") == tar("b")
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in "ab"]
    assert manifests[0] == manifests[1]
    sources = [[r.metadata["source"] for r in records(tmp_path / name)] for name in "ac"]
    assert sources[0] != sources[1]
    assert sorted(sources[0]) == sorted(sources[1])


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not a folder"):
        list_photos(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="holds no"):
        list_photos(str(tmp_path / "empty"))


def test_keys_fit_webdataset():
    assert sample_key(12, "old cup.v2 'x'") == "000012_old-cup-v2--x"
    assert sample_key(3, "日本") == "000003"
    assert len(sample_key(3, "x" * 300)) < 60


def test_bounding_keeps_the_aspect_and_refuses_empty_masks(make):
    image, _ = bound_size(make.picture(50, 100), None, 40)
    assert image.shape == (20, 40, 3)
    with pytest.raises(DroppedError, match="empty object mask"):
        bound_size(image, np.zeros((20, 40), bool), 100)


@pytest.mark.slow
def test_tools_run_from_any_directory_and_report_mistakes(photos, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, TOOLS / "build_alignment_shards.py", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ},
        )  # fmt: skip

    done = run(f'images="{photos}"', "out=shards", "shortest_side=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shards" / "manifest.json").exists()
    again = run(f'images="{photos}"', "out=shards", "shortest_side=1")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "overwrite=true" in again.stderr
