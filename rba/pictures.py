"""Read and write picture files as a user has them: rotated, grey, 16-bit, with alpha, as masks."""

import functools
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps

from rba.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
_NOT_SEEN = 2  # levels of 255 that a colour profile may change without being worth a conversion


def list_images(folder: str | Path) -> list[Path]:
    """Return the image files directly inside a folder, sorted by name.

    Raises:
        InputError: If the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder of images")
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise InputError(
            f"{folder} holds no image; expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(files)


def read_image(path: str | Path) -> np.ndarray:
    """Read any picture as HxWx3 uint8 sRGB: EXIF rotation applied, grey and 16-bit converted.

    Transparent pixels are shown on black.

    Raises:
        InputError: If the file is missing or not an image.
    """
    return read_image_with_alpha(path)[0]


def read_image_with_alpha(path: str | Path | BinaryIO) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture and, where it has a meaningful alpha channel, its HxW bool object mask.

    Of several frames the first one is read.

    Raises:
        InputError: If the file is missing or not an image.
    """
    return _shown(_open(path))


def picture_to_pixels(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn an open picture into what `read_image_with_alpha` reads: upright, in sRGB."""
    return _shown(_upright(picture, keep_labels=False))


def loses_depth(picture: Image.Image) -> bool:
    """Return whether Pillow reads a picture's colours with fewer bits than its file holds.

    It has no mode for more than 8 bits a channel in colour. Known as long as the picture is opened
    but not loaded; 16-bit grey loses nothing.
    """
    if picture.mode.startswith(("I", "F")):
        return False
    for tile in getattr(picture, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        deep = tile[0] == "ppm" and isinstance(arguments[-1], int) and arguments[-1] > 255
        if deep or ";16" in str(arguments[0]):
            return True
    return False


def read_mask(path: str | Path | BinaryIO) -> np.ndarray:
    """Read a mask file as HxW bool.

    Label images with values 0/1 (PAL's form) or palette indices count as set above 0; anything
    brighter is cut at half of the range of its brightest channel, so 0/255, soft and coloured masks
    all work. A palette of only black and white is read by its colours (index 0 may be white). An
    image whose visible colours are all equal and whose alpha varies is read by its alpha.

    Raises:
        InputError: If the file is missing, not an image, or too dark to be a mask.
    """
    return _marked(_open(path, keep_labels=True), str(path))


def picture_to_mask(picture: Image.Image, name: str) -> np.ndarray:
    """Turn an open picture into what `read_mask` reads.

    Raises:
        InputError: If it is too dark to be a mask; ``name`` is said.
    """
    return _marked(_upright(picture, keep_labels=True), name)


def _marked(picture: Image.Image, name: str) -> np.ndarray:
    colours, alpha = _colours_and_alpha(picture)
    if alpha is not None and alpha.min() < alpha.max():
        visible = colours[alpha >= 128]  # strokes on nothing, in whatever colour nothing is stored
        if not visible.size or (visible == visible[0]).all():
            return alpha >= 128
        colours = np.where(alpha[..., None] >= 128, colours, 0)
    # Channel by channel: NumPy's reduction over an axis of three takes ten times as long.
    red, green, blue = np.moveaxis(colours, -1, 0)
    brightest = np.maximum(np.maximum(red, green), blue)
    if picture.mode == "P":
        darkest = np.minimum(np.minimum(red, green), blue)
        if not ((brightest == 0) | (darkest == 255)).all():
            return np.asarray(picture) > 0
    if 1 < brightest.max() < 128:
        raise InputError(
            f"{name} is no mask: its brightest pixel is {brightest.max()} of 255 and none counts "
            "below 128; paint the mask white"
        )
    return brightest > 0 if brightest.max() <= 1 else brightest >= 128


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an HxWx3 uint8 picture, or an HxW bool mask as 0/255, losslessly."""
    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    Image.fromarray(pixels).save(path, format="PNG")


def to_srgb(picture: Image.Image) -> Image.Image:
    """Return a picture in sRGB, by its colour profile where it has one that says otherwise.

    A profile that cannot be read, or is for another kind of pixels, says nothing.
    """
    mode = picture.mode
    if "icc_profile" not in picture.info or mode.startswith(("I", "F")) or mode == "1":
        return picture
    if mode in ("P", "PA", "LA", "RGBA"):
        whole = picture.convert("RGBA" if mode != "LA" else "LA")
        colours, alpha = whole.convert("L" if mode == "LA" else "RGB"), whole.getchannel("A")
        colours.info["icc_profile"] = picture.info["icc_profile"]
        if not changes_colours(colours):
            return picture
        converted = to_srgb(colours)
        converted.putalpha(alpha)
        return converted
    transform = _profile_transform(picture.info["icc_profile"], mode)
    return picture if transform is None else _apply(picture, transform)


def changes_colours(picture: Image.Image) -> bool:
    """Return whether a grey, RGB or CMYK picture has a colour profile other than sRGB."""
    profile = picture.info.get("icc_profile")
    return bool(profile) and _profile_transform(profile, picture.mode) is not None


@functools.lru_cache(maxsize=32)
def _profile_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what turns pixels of a mode into sRGB; None where that changes nothing or fails."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode not in ("L", "RGB"):
        return transform
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "RGB":
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
    else:
        grid = np.arange(256, dtype=np.uint8)[None]
    shown = np.asarray(_apply(Image.fromarray(grid), transform)).astype(int)
    same = np.abs(shown - (grid if mode == "RGB" else grid[..., None])).max() <= _NOT_SEEN
    return None if same else transform


def _apply(picture: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None  # only in place it returns none
    return converted


def _open(path: str | Path | BinaryIO, *, keep_labels: bool = False) -> Image.Image:
    """Decode a file, upright, in one of `_MODES`, in sRGB unless it holds labels."""
    try:
        with Image.open(path) as picture:
            ImageOps.exif_transpose(picture, in_place=True)  # it is ours: no copy, 4 bytes a pixel
            return _in_eight_bits(picture, keep_labels=keep_labels)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of an image") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of an image") from None
    # Damaged bytes make Pillow's decoders raise nearly anything: OSError, SyntaxError, TypeError.
    except Exception as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error


def _upright(picture: Image.Image, *, keep_labels: bool) -> Image.Image:
    return _in_eight_bits(ImageOps.exif_transpose(picture), keep_labels=keep_labels)


def _in_eight_bits(picture: Image.Image, *, keep_labels: bool) -> Image.Image:
    upright = _to_eight_bits(picture, keep_labels=keep_labels)
    if not keep_labels:
        upright = to_srgb(upright)
    return upright if upright.mode in _MODES else upright.convert("RGB")


def _shown(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the colours on black, and the alpha channel's object where it is not all opaque."""
    colours, alpha = _colours_and_alpha(picture)
    if alpha is None:
        return colours, None
    shown = (colours.astype(np.uint16) * alpha[..., None] + 127) // 255
    opaque = bool((alpha == 255).all())
    return shown.astype(np.uint8), None if opaque else alpha >= 128


def _colours_and_alpha(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return HxWx3 uint8 colours as stored, and HxW uint8 alpha where the picture has one."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")), None
    rgba = np.asarray(picture.convert("RGBA"))
    return rgba[..., :3], rgba[..., 3]


def _to_eight_bits(picture: Image.Image, *, keep_labels: bool) -> Image.Image:
    """Scale 16-bit and float grey pictures to 8 bits (labels 0/1 stay as they are)."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    highest = values.max()
    full = full_scale(values, picture.mode)
    if keep_labels and full == 255.0 and highest <= 1:
        return Image.fromarray(values.astype(np.uint8))
    return Image.fromarray(np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8))


def full_scale(values: np.ndarray, mode: str) -> float:
    """Return what white is in a grey picture of integers (mode I...) or floats (F).

    Integers up to 255 are taken as 8-bit, up to 65535 as 16-bit; floats up to 1 as a share.
    """
    highest = float(values.max())
    if mode == "F" and highest <= 1:
        return 1.0
    return 255.0 if highest <= 255 else max(65535.0, highest)
