"""Mask files as users have them: one mask in every form that a file can give it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rba.pictures import read_mask

HEIGHT, WIDTH = 12, 20
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:7, 5:14] = True
MASK[8, 2] = True

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(picture: Image.Image | np.ndarray, name: str = "picture.png", **options: Any) -> Path:
        path = tmp_path / name
        made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        made.save(path, **options)
        return path

    return write


def as_colours(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def paletted(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8)).convert("L")
    palette = Image.new("P", picture.size)
    palette.putpalette([value for colour in colours for value in colour])
    palette.putdata(indices.ravel().tolist())
    return palette


def with_alpha(grey: int) -> np.ndarray:
    """The mask as alpha over one colour."""
    flat = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    return np.dstack([flat, MASK * np.uint8(255)])


MASK_FORMS: dict[str, Callable[[], tuple[Image.Image | np.ndarray, dict[str, Any]]]] = {
    "0 and 255": lambda: (MASK * np.uint8(255), {}),
    "0 and 1": lambda: (MASK * np.uint8(1), {}),
    "soft": lambda: (np.where(MASK, 200, 60).astype(np.uint8), {}),
    "one bit": lambda: (Image.fromarray(MASK), {}),
    "16 bit": lambda: (MASK * np.uint16(65535), {}),
    "16 bit, 0 and 1": lambda: (MASK * np.uint16(1), {}),
    "16 bit, 0 and 255": lambda: (MASK * np.uint16(255), {}),
    "16 bit, soft": lambda: (np.where(MASK, 40000, 20000).astype(np.uint16), {}),
    "white on black": lambda: (as_colours(MASK * np.uint8(255)), {}),
    "red on black": lambda: (np.dstack([MASK * np.uint8(255), *[MASK * np.uint8(0)] * 2]), {}),
    "blue on black": lambda: (np.dstack([*[MASK * np.uint8(0)] * 2, MASK * np.uint8(255)]), {}),
    "palette labels": lambda: (paletted(MASK, [(0, 0, 0), (128, 0, 0)]), {}),
    "palette labels on grey": lambda: (paletted(MASK, [(120, 120, 120), (6, 230, 230)]), {}),
    "palette labels 0 and 2": lambda: (paletted(MASK * 2, [(0, 0, 0)] * 2 + [(9, 9, 9)]), {}),
    "palette, white first": lambda: (paletted(~MASK, [(255, 255, 255), (0, 0, 0)]), {}),
    "palette, black first": lambda: (paletted(MASK, [(0, 0, 0), (255, 255, 255)]), {}),
    "palette, alpha only": lambda: (
        paletted(~MASK, [(255, 255, 255), (255, 255, 255)]),
        {"transparency": 1},
    ),
    "alpha only, black": lambda: (
        np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), MASK * np.uint8(255)]),
        {},
    ),
    "alpha only, white": lambda: (
        np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), MASK * np.uint8(255)]),
        {},
    ),
    "grey, alpha only": lambda: (
        Image.merge("LA", [Image.new("L", (WIDTH, HEIGHT)), Image.fromarray(MASK * np.uint8(255))]),
        {},
    ),
    "opaque alpha": lambda: (
        np.dstack([as_colours(MASK * np.uint8(255)), MASK * np.uint8(0) + 255]),
        {},
    ),
}


@pytest.mark.parametrize("form", MASK_FORMS)
def test_a_mask_is_the_same_in_every_form(save: Save, form: str) -> None:
    picture, options = MASK_FORMS[form]()
    found = read_mask(save(picture, **options))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, MASK)


@pytest.mark.parametrize("full", [1.0, 255.0])
def test_a_soft_float_mask_is_cut_at_half(save: Save, full: float) -> None:
    values = np.where(MASK, 0.7, 0.3).astype(np.float32) * np.float32(full)
    np.testing.assert_array_equal(read_mask(save(values, "a.tif")), MASK)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_empty_and_a_full_mask_stay_so(save: Save, value: int, channels: int) -> None:
    pixels = np.full((HEIGHT, WIDTH, channels), value, np.uint8).squeeze()
    if channels == 4:
        pixels[..., 3] = 255
    found = read_mask(save(pixels))
    assert found.shape == (HEIGHT, WIDTH)
    assert (found == bool(value)).all()


def test_exif_rotation_turns_masks_too(save: Save) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(MASK)).astype(np.uint8) * 255
    np.testing.assert_array_equal(read_mask(save(stored, exif=exif)), MASK)
