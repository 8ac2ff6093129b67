import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.pictures import read_image, write_png
from rba.rendering.dataset import RenderJob, cut_photos, prepare_folder, render_objects
from rba.rendering.files import (
    open_object_folder,
    read_correspondence,
    write_correspondence,
    write_object,
)
from rba.rendering.pair import render_pair
from rba.rendering.textures import load_textures


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 40))
def test_correspondence_round_trip(
    tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, height: int
) -> None:
    rng = np.random.default_rng(seed)
    map_ = (rng.random((7, 9, 2)) * (width, height)).astype(np.float32)
    map_[rng.random((7, 9)) < 0.3] = np.nan
    path = tmp_path_factory.getbasetemp() / "map.png"
    write_correspondence(path, map_, width, height)
    found = read_correspondence(path, width, height)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(map_))
    error = np.abs(found - map_) / (width, height)
    assert np.nanmax(error, initial=0.0) <= 0.5 / 65535 + 1e-6
    # Positions are shares: the same file serves the other view at twice the size.
    np.testing.assert_allclose(read_correspondence(path, 2 * width, 2 * height), 2 * found)


def test_object_round_trip(tmp_path: Path) -> None:
    pair = render_pair(load_textures(None, "train"), keyed_generator(0, "t", "t", 0), 48)
    write_object(tmp_path / "thing", pair, {"seed": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    folder = open_object_folder(tmp_path / "thing")
    assert [view.name for view in folder.views] == ["00.png", "01.png"]
    first, second = folder.views
    np.testing.assert_array_equal(read_image(first), pair.first.image)
    np.testing.assert_array_equal(read_image(second), pair.second.image)
    np.testing.assert_array_equal(folder.object_mask(second), pair.second.mask)
    for start, end, view in ((first, second, pair.first), (second, first, pair.second)):
        map_ = folder.correspondence(start, end, (48, 48))
        assert map_ is not None
        np.testing.assert_allclose(map_, view.correspondence, atol=1e-3)
    facts = json.loads((tmp_path / "thing" / "object.json").read_text())
    assert facts["seed"] == 3
    assert facts["shape"] == pair.shape


def test_folder_of_real_photos_has_only_views(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_png(tmp_path / name, np.zeros((5, 5, 3), np.uint8))
    folder = open_object_folder(tmp_path)
    assert [view.name for view in folder.views] == ["a.png", "b.png"]
    assert folder.object_mask(folder.views[0]) is None
    assert folder.correspondence(*folder.views, (5, 5)) is None


def test_what_is_no_correspondence_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(InputError, match="cannot be read"):
        read_correspondence(path, 4, 4)
    write_png(path, np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="16-bit"):
        read_correspondence(path, 4, 4)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="16-bit"):
        read_correspondence(path, 4, 4)


def test_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    job = RenderJob(split="train", seed=4, size=32)
    for name, workers in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        assert len(list(render_objects(job, tmp_path / name, 6, workers))) == 6
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_objects_and_photos_are_reproducible(tmp_path: Path) -> None:
    for name, split in (("one", "train"), ("two", "train"), ("held", "heldout")):
        out = prepare_folder(tmp_path / name, overwrite=False)
        job = RenderJob(split=split, size=32, photo_print_share=0.5)
        assert list(render_objects(job, out, 2, 1)) == ["object-000000", "object-000001"]
        assert len(list(cut_photos(job, out, 3))) == 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    one, held = contents(tmp_path / "one"), contents(tmp_path / "held")
    assert one.keys() == held.keys()
    images = [name for name in one if name.endswith(("0.png", "1.png", ".jpg"))]
    assert len(images) == 7
    assert all(one[name] != held[name] for name in images)


def test_outputs_are_only_replaced_on_request(tmp_path: Path) -> None:
    out = prepare_folder(tmp_path / "out", overwrite=False)
    list(render_objects(RenderJob(size=32), out, 2, 1))
    (out / "notes.txt").write_text("mine")
    (out / ".object-000009.1.part").mkdir()
    with pytest.raises(InputError, match="overwrite=true"):
        prepare_folder(out, overwrite=False)
    prepare_folder(out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="is a file"):
        prepare_folder(out / "notes.txt", overwrite=True)


def test_bad_jobs_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size=8"):
        RenderJob(size=8)
    with pytest.raises(InputError, match="photo_print_share"):
        RenderJob(photo_print_share=2.0)
    with pytest.raises(InputError, match="count=-1"):
        render_objects(RenderJob(), tmp_path, -1, 1)
    with pytest.raises(InputError, match="workers=0"):
        render_objects(RenderJob(), tmp_path, 1, 0)
    with pytest.raises(InputError, match="no-such-folder"):
        render_objects(RenderJob(textures="no-such-folder"), tmp_path, 1, 1)
    with pytest.raises(InputError, match="num_photos=-2"):
        cut_photos(RenderJob(), tmp_path, -2)
    assert not list(tmp_path.iterdir())
