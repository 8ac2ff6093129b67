"""The tool, as typed: from objects to shards."""

import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rba.data.sample import decode_record
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.settings import compose_config

SCRIPT = Path(__file__).parents[3] / "data_tools" / "build_refinement_shards.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("build_refinement_shards", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(**settings):
    words = [f"{key}={value}" for key, value in settings.items()]
    load_tool().main(compose_config("data_tools/build_refinement_shards", words))


def records(folder):
    shards = ShardSet.open(folder)
    found = [
        decode_record(shards.kind, *shards.read(number, index))
        for number, size in enumerate(shards.sizes)
        for index in range(size)
    ]
    return {(r.metadata["object"], *r.metadata["views"]): r for r in found}


def report(folder, name="build_report.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture
def objects(write, tmp_path):
    """Two views that differ by a known shift, an object with one view, one that cannot match."""
    folder = tmp_path / "objects"
    for name in ("shifted", "single", "flat"):
        (folder / name).mkdir(parents=True)
    wide = cv2.resize(write.picture(3, 96, 136), (136, 96))
    rng = np.random.default_rng(0)
    for _ in range(60):
        x, y = rng.integers(0, (130, 90))
        cv2.circle(
            wide, (int(x), int(y)), int(rng.integers(2, 7)), rng.integers(0, 255, 3).tolist(), -1
        )
    views = wide[:, :96], wide[:, 40:]
    for number, view in enumerate(views):
        Image.fromarray(view).save(folder / "shifted" / f"0{number}.png")
    mask = Image.fromarray(np.full((96, 96), 255, np.uint8))
    mask.save(folder / "shifted" / "00.mask.png")
    y, x = np.mgrid[0:96, 0:96] + 0.5
    for name, shift in (("00-01", -40), ("01-00", 40)):
        write_shift(folder / "shifted" / f"{name}.correspondence.png", x + shift, y)
    Image.fromarray(views[0]).save(folder / "single" / "00.jpg")
    for number in range(2):
        Image.new("RGB", (96, 96), (90, 90, 90 + 40 * number)).save(
            folder / "flat" / f"{number}.jpg"
        )
    return folder


def write_shift(path, u, v):
    valid = (u >= 0) & (u < 96)
    planes = [valid * 65535, v / 96 * 65535 * valid, u / 96 * 65535 * valid]
    cv2.imwrite(str(path), np.rint(np.stack(planes, axis=2)).astype(np.uint16))


def test_pairs_with_exact_matches(objects, tmp_path, capsys):
    out = tmp_path / "out"
    run(objects=objects, out=out, report_pairs=9)
    found = records(out)
    assert set(found) == {("shifted", "00.png", "01.png"), ("shifted", "01.png", "00.png")}
    record = found["shifted", "00.png", "01.png"]
    assert record.metadata["matcher"] == "exact"
    assert record.metadata["mask_source"] == ["file", "none"]
    assert record.target_mask.all()
    assert record.reference_mask is None
    known = np.isfinite(record.matches[..., 0])
    np.testing.assert_array_equal(known[0], np.arange(12) * 8 + 4.5 >= 40)
    np.testing.assert_allclose(
        record.matches[3, 6, :2].astype(float), [(52.5 - 40) / 96, 28.5 / 96], atol=1e-3
    )
    assert report(out)["dropped"] == {
        "fewer than two views": ["single"],
        "too few matches": ["flat/0-1", "flat/1-0"],
    }
    figures = report(out, "matching_report.json")
    assert figures["left_out"] == {}
    assert figures["matchers"]["exact"]["pairs"] == figures["matchers"]["sift"]["pairs"] == 2
    assert figures["matchers"]["exact"]["coverage"] == 1.0
    assert figures["matchers"]["sift"]["pck@16"] > 0.9
    printed = capsys.readouterr().out
    assert "layout folders: 3 objects with 5 views, 4 pairs" in printed
    assert "matches: sift" in printed


def test_matchers_by_setting(objects, tmp_path):
    nothing = "1 x fewer than two views, 4 x too few matches"
    with pytest.raises(InputError, match=nothing):
        run(objects=objects, out=tmp_path / "a", min_matches=999)
    run(objects=objects, out=tmp_path / "b", matcher="exact")
    assert report(tmp_path / "b")["dropped"]["no exact correspondence"] == ["flat/0-1", "flat/1-0"]
    (objects / "shifted" / "00-01.correspondence.png").write_bytes(b"x")
    run(objects=objects, out=tmp_path / "c", report_pairs=5)
    assert report(tmp_path / "c")["dropped"]["unreadable correspondence"] == ["shifted/00-01"]
    left_out = report(tmp_path / "c", "matching_report.json")["left_out"]
    assert left_out == {"unreadable correspondence": ["shifted/00-01"]}
    run(objects=objects, out=tmp_path / "d", matcher="sift", min_matches=8)
    sift, exact = records(tmp_path / "d"), records(tmp_path / "b")
    record = sift["shifted", "00.png", "01.png"]
    assert record.metadata["matcher"] == "sift"
    apart = record.matches - exact["shifted", "00.png", "01.png"].matches
    apart = np.abs(apart[..., :2].astype(float) * 96)
    assert np.nanmax(apart) < 2.0


def test_workers_do_not_change_the_bytes(objects, tmp_path):
    for copy in range(5):
        shutil.copytree(objects / "shifted", objects / f"copy{copy}")
    built = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        run(objects=objects, out=out, matcher="sift", workers=workers, samples_per_shard=4)
        names = [path.name for path in sorted(out.iterdir()) if path.name != "build_report.json"]
        built.append({name: (out / name).read_bytes() for name in names})
    assert sum(name.endswith(".tar") for name in built[0]) >= 3
    assert built[0] == built[1]


def test_the_manifest_tells_what_the_matches_depend_on(objects, tmp_path):
    run(objects=objects, out=tmp_path / "a", view_angle="[1,50]", masks="none")
    settings = report(tmp_path / "a", "manifest.json")["settings"]
    assert settings["tool"] == "build_refinement_shards"
    assert settings["view_angle"] == [1, 50]
    assert settings["masks"] == "none"
    assert settings["matcher"] == "auto"
    run(objects=objects, out=tmp_path / "b", view_angle="[1,50]", masks="none")
    tars = [(tmp_path / name / "refinement-000000.tar").read_bytes() for name in "ab"]
    assert tars[0] == tars[1]


def test_a_list_of_pairs(objects, tmp_path):
    rows = [
        {"target": "objects/shifted/00.png", "reference": "objects/shifted/01.png",
         "target_mask": "objects/shifted/00.mask.png", "object": "the 'ä' cup", "licence": "CC0",
         "correspondence": "objects/shifted/00-01.correspondence.png"},
        {"target": "objects/shifted/00.png", "reference": "objects/gone.png"},
    ]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(objects=tmp_path / "pairs.jsonl", out=tmp_path / "out")
    (record,) = records(tmp_path / "out").values()
    assert record.metadata["object"] == "the 'ä' cup"
    assert record.metadata["licence"] == "CC0"
    assert record.metadata["mask_source"][0] == "file"
    assert report(tmp_path / "out")["dropped"] == {"missing": ["objects/shifted/00-gone"]}


@pytest.mark.parametrize("layout", ["co3d", "mvimgnet"])
def test_data_sets_of_others(layout, request, tmp_path, write):
    root = request.getfixturevalue(layout)
    for path in root.rglob("*.jpg"):  # every view of an object is a shifted copy of one picture
        wide = np.asarray(Image.open(path))
        wide = write.picture(7, 60, 90)
        rng = np.random.default_rng(1)
        for _ in range(80):
            x, y = (int(v) for v in rng.integers(0, (90, 60)))
            cv2.circle(wide, (x, y), int(rng.integers(2, 5)), rng.integers(0, 255, 3).tolist(), -1)
        shift = sum(path.stem.encode()) % 7
        big = cv2.resize(wide[:48, shift : shift + 64], None, fx=4, fy=4)
        Image.fromarray(big).save(path, quality=98)
    run(objects=root, out=tmp_path / "out", max_pairs=3, min_matches=10, view_angle="[0,180]")
    found = records(tmp_path / "out")
    assert len({name for name, *_ in found}) == 2
    for record in found.values():
        assert record.target.shape == (192, 256, 3)
        assert record.metadata["view_distance"] >= 1
    masked = [r for r in found.values() if r.metadata["mask_source"] == ["file", "file"]]
    assert masked
    assert masked[0].target_mask.sum() == 96 * 128


def test_dinov2_from_a_local_folder(objects, tmp_path):
    from rba.models.encoder import load_encoder

    architecture = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8,
        "image_size": 64,
    }  # fmt: skip
    load_encoder(None, architecture).save_pretrained(tmp_path / "dino")
    picture = np.asarray(Image.open(objects / "shifted" / "00.png"))
    for number in range(2):  # as good as equal: tokens of random weights know places
        Image.fromarray(picture ^ number).save(objects / "flat" / f"{number}.png")
    run(objects=objects, out=tmp_path / "out", matcher="dinov2", encoder=tmp_path / "dino",
        matching_side=128, min_matches=20)  # fmt: skip
    record = records(tmp_path / "out")["flat", "0.png", "1.png"]
    assert record.metadata["matcher"] == "dinov2"
    known = np.isfinite(record.matches[..., 0])
    columns = (np.nonzero(known)[1] * 8 + 4.5) / 96
    assert np.abs(record.matches[known][:, 0].astype(float) - columns).max() < 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"matcher": "magic"}, "matcher=magic"),
        ({"matcher": "dinov2"}, "needs encoder=DIR"),
        ({"matcher": "dinov2", "encoder": "./nowhere"}, "nowhere does not exist"),
        ({"matching_side": 8}, "matching_side=8"),
        ({"max_disagreement": 2}, "max_disagreement=2"),
        ({"layout": "magic"}, "layout=magic"),
        ({"masks": "magic"}, "masks=magic"),
        ({"view_distance": "[0,1]"}, "view_distance"),
        ({"view_angle": "[1]"}, "view_angle"),
        ({"report_pairs": -1}, "report_pairs=-1"),
        ({"parts": 2, "part": 2}, "part=2"),
    ],
)
def test_bad_settings_are_named_and_nothing_is_written(objects, tmp_path, settings, words):
    with pytest.raises(InputError, match=words):
        run(objects=objects, out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_matchers_can_be_handed_to_other_processes():
    from rba.matching.sift import SiftMatcher

    tool = load_tool()
    words = ["objects=a", "out=b", "rigid=false"]
    matcher = tool.make_matcher(compose_config("data_tools/build_refinement_shards", words))
    assert isinstance(matcher, SiftMatcher)
    assert matcher.settings.epipolar == 0.0
    assert pickle.loads(pickle.dumps(matcher)) == matcher
