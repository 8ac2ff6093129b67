from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.pictures import write_png
from rba.rendering.colours import strong_colours
from rba.rendering.printing import print_design
from rba.rendering.textures import WHEEL_HELDOUT, WHEEL_PHOTOS, crop_photo, load_textures


def write_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        write_png(folder / f"p{index}.png", rng.integers(0, 255, (70, 90, 3)).astype(np.uint8))


def test_wheel_photos_by_split() -> None:
    everything, train, heldout = (load_textures(None, s) for s in ("all", "train", "heldout"))
    assert set(everything) == set(WHEEL_PHOTOS)
    assert set(heldout) == WHEEL_HELDOUT
    assert set(train) == set(everything) - set(heldout)
    assert "motorcycle" not in "".join(everything)
    for photo in everything.values():
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert min(photo.shape[:2]) >= 300


@pytest.mark.parametrize("count", [2, 9])
def test_folder_splits_are_disjoint_and_stable(tmp_path: Path, count: int) -> None:
    write_pictures(tmp_path, count)
    train, heldout = load_textures(tmp_path, "train"), load_textures(tmp_path, "heldout")
    assert train
    assert heldout
    assert not train.keys() & heldout.keys()
    assert train.keys() | heldout.keys() == load_textures(tmp_path, "all").keys()
    assert load_textures(tmp_path, "heldout").keys() == heldout.keys()


def test_textures_that_cannot_be_used(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    with pytest.raises(InputError, match="split=heldout"):
        load_textures(tmp_path, "heldout")
    with pytest.raises(InputError, match="split=some"):
        load_textures(tmp_path, "some")
    with pytest.raises(InputError, match="nowhere"):
        load_textures(tmp_path / "nowhere")
    write_png(tmp_path / "small.png", np.zeros((20, 300, 3), np.uint8))
    with pytest.raises(InputError, match="300x20"):
        load_textures(tmp_path)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    write_png(tmp_path / "large.png", np.zeros((100, 4096, 3), np.uint8))
    assert load_textures(tmp_path)["large.png"].shape == (50, 2048, 3)


def test_crops_are_large_parts_of_the_photo() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    for seed in range(10):
        photo = crop_photo(ramp, np.random.default_rng(seed), 50)
        assert photo.shape == (50, 50, 3)
        # The ramp rises by one a pixel, so the range of values is the crop's width.
        assert 58 <= int(photo.max()) - int(photo.min()) + 2 <= 103


@pytest.mark.parametrize(("width", "height"), [(160, 160), (300, 90), (40, 200), (16, 16)])
def test_prints_change_most_of_a_photo_and_keep_some(width: int, height: int) -> None:
    photo = np.full((300, 300, 3), (10, 120, 30), np.uint8)
    shares = []
    for seed in range(12):
        design = print_design(photo, np.random.default_rng(seed), width, height)
        assert design.shape == (height, width, 3)
        assert design.dtype == np.uint8
        shares.append(np.any(design != photo[0, 0], axis=-1).mean())
    assert 0.2 < np.mean(shares) < 0.95


def test_grey_photos_are_coloured() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 255, (99, 99, 1)), 3, axis=2)
    design = print_design(grey.astype(np.uint8), np.random.default_rng(1), 99, 99).astype(int)
    assert (np.ptp(design, axis=-1) > 8).mean() > 0.5


def test_neighbouring_colours_contrast() -> None:
    for seed in range(50):
        colours = np.array(strong_colours(np.random.default_rng(seed), 4), float)
        assert np.linalg.norm(np.diff(colours, axis=0), axis=1).min() > 40
