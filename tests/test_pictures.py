"""Pictures as users have them: the right pixels, or a message with the path; never silent black."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rba.errors import InputError
from rba.pictures import list_images, read_image, read_image_with_alpha, read_mask, write_png

HEIGHT, WIDTH = 12, 20
RAMP = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).round().astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)
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


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff"])
def test_lossless_files_keep_every_pixel(save: Save, name: str) -> None:
    np.testing.assert_array_equal(read_image(save(COLOURS, name)), COLOURS)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_files_come_back_nearly(save: Save, name: str) -> None:
    found = read_image(save(COLOURS, name, quality=95))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - COLOURS).mean() < 6


def test_grey_becomes_three_equal_channels(save: Save) -> None:
    np.testing.assert_array_equal(read_image(save(RAMP)), as_colours(RAMP))


def test_one_bit_becomes_black_and_white(save: Save) -> None:
    found = read_image(save(Image.fromarray(MASK)))
    np.testing.assert_array_equal(found, as_colours(MASK * np.uint8(255)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_keeps_its_tones(save: Save, name: str) -> None:
    found = read_image(save(RAMP.astype(np.uint16) * 257, name))
    np.testing.assert_array_equal(found, as_colours(RAMP))


def test_a_dark_sixteen_bit_picture_is_not_brightened(save: Save) -> None:
    found = read_image(save(RAMP.astype(np.uint16) * 20))
    np.testing.assert_array_equal(found[..., 0], np.rint(RAMP * (20 * 255 / 65535)))


def test_eight_bit_tones_in_a_sixteen_bit_file_are_not_black(save: Save) -> None:
    np.testing.assert_array_equal(read_image(save(RAMP.astype(np.uint16))), as_colours(RAMP))


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
def test_float_tiffs_of_any_usual_range_keep_their_tones(save: Save, full: float) -> None:
    values = (RAMP / 255.0 * full).astype(np.float32)
    np.testing.assert_array_equal(read_image(save(values, "a.tif")), as_colours(RAMP))


def test_thirty_two_bit_integers_keep_their_tones(save: Save) -> None:
    values = RAMP.astype(np.int32) * 257 * 1000
    np.testing.assert_array_equal(read_image(save(values, "a.tif")), as_colours(RAMP))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(save: Save, wrong: float) -> None:
    values = RAMP.astype(np.float32) / 255.0
    values[2, 3] = wrong
    path = save(values, "depth.tif")
    with pytest.raises(InputError, match=r"depth\.tif.*not finite"):
        read_image(path)


def test_cmyk_jpeg_keeps_its_colours(save: Save) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    found = read_image(save(Image.fromarray(red).convert("CMYK"), "a.jpg", quality=95))
    assert np.abs(found.astype(int) - red).max() < 12


def test_a_lab_tiff_is_converted(save: Save) -> None:
    found = read_image(save(Image.new("LAB", (4, 4), (255, 128, 128)), "lab.tif"))
    assert np.abs(found.astype(int) - 255).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_exif_rotation_is_applied(save: Save, orientation: int, name: str) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 16:] = (0, 0, 255)
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turns[orientation](upright))
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if name.endswith("jpg") else {}
    found = read_image(save(stored, name, exif=exif, **options))
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() < 12


def test_transparent_pixels_show_black_and_give_the_object_mask(save: Save) -> None:
    rgba = np.dstack([COLOURS, MASK * np.uint8(255)])
    found, mask = read_image_with_alpha(save(rgba))
    np.testing.assert_array_equal(found, COLOURS * MASK[..., None])
    assert mask is not None
    np.testing.assert_array_equal(mask, MASK)


def test_half_transparent_pixels_are_mixed_with_black(save: Save) -> None:
    alpha = np.full((HEIGHT, WIDTH), 128, np.uint8)
    found, mask = read_image_with_alpha(save(np.dstack([COLOURS, alpha])))
    np.testing.assert_array_equal(found, np.rint(COLOURS * (128 / 255)))
    assert mask is not None
    assert mask.all()


def test_an_opaque_alpha_channel_says_nothing(save: Save) -> None:
    rgba = np.dstack([COLOURS, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    found, mask = read_image_with_alpha(save(rgba))
    assert mask is None
    np.testing.assert_array_equal(found, COLOURS)


def test_grey_with_alpha_gives_picture_and_mask(save: Save) -> None:
    picture = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(MASK * np.uint8(255))])
    found, mask = read_image_with_alpha(save(picture))
    np.testing.assert_array_equal(found, as_colours(RAMP * MASK))
    assert mask is not None
    np.testing.assert_array_equal(mask, MASK)


def paletted(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8)).convert("L")
    palette = Image.new("P", picture.size)
    palette.putpalette([value for colour in colours for value in colour])
    palette.putdata(indices.ravel().tolist())
    return palette


def test_palette_pictures_show_their_colours(save: Save) -> None:
    colours = [(200, 10, 20), (5, 100, 250)]
    found = read_image(save(paletted(MASK, colours)))
    np.testing.assert_array_equal(found, np.array(colours, np.uint8)[MASK.astype(int)])


def test_a_transparent_palette_entry_is_black_and_off_the_object(save: Save) -> None:
    colours = [(200, 10, 20), (5, 100, 250)]
    found, mask = read_image_with_alpha(save(paletted(MASK, colours), transparency=0))
    assert mask is not None
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(found[MASK], np.tile([[5, 100, 250]], (MASK.sum(), 1)))
    assert not found[~MASK].any()


def test_what_write_png_writes_comes_back(tmp_path: Path) -> None:
    write_png(tmp_path / "image.png", COLOURS)
    write_png(tmp_path / "mask.png", MASK)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), COLOURS)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "mask.png")))) == {0, 255}


@pytest.mark.parametrize("read", [read_image, read_image_with_alpha, read_mask])
def test_what_is_no_image_is_refused_with_its_path(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "empty.png").touch()
    reasons = {
        "missing.png": "does not exist",
        "folder.png": "is a folder",
        "text.png": "cannot be read",
        "empty.png": "cannot be read",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def encoded(picture: np.ndarray, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=format, **options)
    return stream.getvalue()


def read_or_refusal(path: Path) -> np.ndarray | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow also warns of damaged tags
        try:
            return read_image(path)
        except InputError as error:
            return str(error)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_refused_or_whole(tmp_path: Path, format: str) -> None:
    data = encoded(COLOURS, format, **({"lossless": True} if format == "WEBP" else {}))
    path = tmp_path / "cut.png"
    path.write_bytes(data)
    whole = read_image(path)
    refused = 0
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        found = read_or_refusal(path)
        if isinstance(found, str):
            refused += 1
            assert str(path) in found
        else:
            np.testing.assert_array_equal(found, whole)
    assert refused > len(data) // 3 * 0.8


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_damaged_file_is_read_or_refused_but_never_a_traceback(
    tmp_path: Path, format: str
) -> None:
    data = encoded(COLOURS, format)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.png"
    refused = 0
    for _ in range(150):
        broken = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, min(len(broken), 200), 3)
        broken[places] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        found = read_or_refusal(path)
        refused += isinstance(found, str)
        assert str(path) in found if isinstance(found, str) else found.dtype == np.uint8
    assert refused > 0


def test_images_of_a_folder_come_sorted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt", "d.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png", "c.webp", "d.tiff"]


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is not a folder"):
        list_images(tmp_path / "none")
    (tmp_path / "file.png").touch()
    with pytest.raises(InputError, match="is not a folder"):
        list_images(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no image.*\.png"):
        list_images(str(tmp_path / "empty"))
