"""`rba refine` as typed: pictures and masks of any kind and size give one refined picture."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rba.pictures import read_image, read_mask

Write = Callable[..., str]
HOLE = (slice(20, 36), slice(30, 52))


def test_the_picture_changes_in_the_hole_and_nowhere_else(
    typed: Any, photo: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(save_intermediates=str(tmp_path / "some" / "more")) == 0
    refined = read_image(tmp_path / "refined.png")
    weights = read_image(tmp_path / "some/more/feather_mask.png")[..., 0]
    assert weights[HOLE].min() == 255
    np.testing.assert_array_equal(refined[weights == 0], photo[weights == 0])
    assert (refined != photo)[HOLE].mean() > 0.9
    assert refined[HOLE].std() > 1  # neither black nor grey
    assert "largest change outside the feathered mask: 0" in capsys.readouterr().out


def test_intermediates_are_complete(typed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "intermediates"
    assert typed(save_intermediates=str(folder)) == 0
    names = "crop crop_mask refined_crop feather_mask correspondence_mask matched_region panel"
    expected = {f"{name}.png" for name in names.split()}
    expected |= {"correspondence_map.npy", "result.json"}
    assert {path.name for path in folder.iterdir()} == expected
    found = np.load(folder / "correspondence_map.npy")
    assert found.shape == (4, 4)
    assert found.sum() == pytest.approx(1)
    assert read_mask(folder / "correspondence_mask.png").shape == (50, 40)
    facts = json.loads((folder / "result.json").read_text())
    assert facts["max_change_outside_feathered_mask"] == 0
    assert facts["artifact_pixels"] == 16 * 22 <= facts["feathered_pixels"]


def test_a_seed_gives_one_picture_and_another_gives_another(typed: Any, tmp_path: Path) -> None:
    def refined(seed: str) -> bytes:
        assert typed(seed=seed) == 0
        return (tmp_path / "refined.png").read_bytes()

    first = refined("3")
    assert refined("3") == first
    assert refined("4") != first


def in_mode(photo: np.ndarray, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(photo).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "I;16", "F", "CMYK"])
def test_pictures_of_any_mode_are_refined(
    typed: Any, photo: np.ndarray, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "given.tiff"
    in_mode(photo, mode).save(path)
    assert typed(image=str(path), reference=str(path)) == 0
    refined, given = read_image(tmp_path / "refined.png"), read_image(path)
    far = np.ones(given.shape[:2], bool)
    far[3:53, 13:69] = False  # at most 8 pixels of the 32-pixel crop, here of 66 pixels
    np.testing.assert_array_equal(refined[far], given[far])


def test_a_rotated_photo_is_refined_upright(
    typed: Any, photo: np.ndarray, tmp_path: Path, write: Write
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: turn by 90 degrees to show
    image = write("phone.png", np.rot90(photo).copy(), exif=turned)
    assert typed(image=image) == 0
    assert read_image(tmp_path / "refined.png").shape == photo.shape


def soft(mask: np.ndarray) -> np.ndarray:
    ramp = np.linspace(100, 255, mask.shape[1]).astype(np.uint8)
    return np.where(mask > 0, np.maximum(ramp, 128), ramp // 3).astype(np.uint8)


def layers(mask: np.ndarray, ink: int, nothing: int) -> np.ndarray:
    """Strokes of ``ink`` on a transparent layer that stores the colour ``nothing``."""
    grey = np.where(mask > 0, ink, nothing).astype(np.uint8)
    return np.dstack([grey] * 3 + [mask])


MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "0/255": lambda mask: mask,
    "0/1": lambda mask: mask // 255,
    "one bit": lambda mask: mask > 0,
    "soft": soft,
    "16 bits": lambda mask: mask.astype(np.uint16) * 257,
    "red on black": lambda mask: np.dstack([mask, mask * 0, mask * 0]),
    "white on nothing": lambda mask: layers(mask, 255, 0),
    "white on stored white": lambda mask: layers(mask, 255, 255),
    "black on stored white": lambda mask: layers(mask, 0, 255),
    "red on stored white": lambda mask: layers(mask, 200, 255) * np.array([1, 0, 0, 1], np.uint8),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_any_kind_mean_the_same_hole(
    typed: Any, write: Write, hole: Callable[..., np.ndarray], tmp_path: Path, kind: str
) -> None:
    assert typed() == 0
    expected = (tmp_path / "refined.png").read_bytes()
    assert typed(mask=write("other.png", MASKS[kind](hole()))) == 0
    assert (tmp_path / "refined.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1, 1), np.s_[:]),
        ((5, 7), np.s_[2:3, 2:3]),
        ((1, 300), np.s_[:, 100:110]),
        ((300, 1), np.s_[100:101]),
        ((3, 2000), np.s_[1:2, 300:900]),
        ((70, 90), np.s_[:]),
        ((70, 90), np.s_[0:1, 0:1]),
    ],
    ids=str,
)
def test_images_and_masks_of_any_size(
    typed: Any, write: Write, tmp_path: Path, size: tuple[int, int], box: Any
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[box] = 255
    folder = tmp_path / "intermediates"
    given = {"image": write("i.png", image), "mask": write("m.png", mask)}
    assert typed(**given, save_intermediates=str(folder)) == 0
    refined = read_image(tmp_path / "refined.png")
    assert refined.shape == image.shape
    assert (
        json.loads((folder / "result.json").read_text())["max_change_outside_feathered_mask"] == 0
    )


@pytest.mark.slow
def test_a_photo_of_twelve_megapixels(typed: Any, write: Write, tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (3000, 4000, 3), np.uint8)
    mask = np.zeros((3000, 4000), np.uint8)
    mask[1000:1090, 2000:2200] = 255
    assert typed(image=write("i.bmp", image), mask=write("m.png", mask)) == 0
    refined = read_image(tmp_path / "refined.png")
    np.testing.assert_array_equal(refined[:800], image[:800])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (300, 1), (1, 300), (900, 1200)], ids=str)
def test_references_of_any_size(typed: Any, write: Write, size: tuple[int, int]) -> None:
    reference = np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
    assert typed(reference=write("r.png", reference)) == 0


def test_a_lossy_output_says_so(
    typed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(output=str(tmp_path / "refined.JPG")) == 0
    assert ".JPG is lossy" in capsys.readouterr().out
    assert read_image(tmp_path / "refined.JPG").shape == (70, 90, 3)


def test_the_image_itself_may_be_the_output(typed: Any, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    assert typed(output=str(path)) == 0
    assert not np.array_equal(read_image(path), photo)
    assert not list(tmp_path.glob(".*"))
