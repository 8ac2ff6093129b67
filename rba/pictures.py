"""Read and write picture files as a user has them: rotated, grey, 16-bit, with alpha, as masks."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rba.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


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
    """Read any picture as HxWx3 uint8 RGB: EXIF rotation applied, grey and 16-bit converted.

    Transparent pixels are shown on black.

    Raises:
        InputError: If the file is missing or not an image.
    """
    return read_image_with_alpha(path)[0]


def read_image_with_alpha(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture and, where it has a meaningful alpha channel, its HxW bool object mask.

    Raises:
        InputError: If the file is missing or not an image.
    """
    picture = _to_eight_bits(_open(path))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return np.asarray(picture.convert("RGB")), None
    rgba = np.asarray(picture.convert("RGBA"))
    alpha = rgba[..., 3]
    shown = (rgba[..., :3].astype(np.uint16) * alpha[..., None] + 127) // 255
    opaque = bool((alpha == 255).all())
    return shown.astype(np.uint8), None if opaque else alpha >= 128


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask file as HxW bool.

    Label images with values 0/1 (PAL's form) or palette indices count as set above 0; anything
    brighter is cut at half of the range, so 0/255 and soft masks both work. An image whose colours
    are all equal and whose alpha varies is read by its alpha.

    Raises:
        InputError: If the file is missing or not an image.
    """
    picture = _open(path)
    if picture.mode in ("P", "1"):
        return np.asarray(picture) > 0
    picture = _to_eight_bits(picture, keep_labels=True)
    grey = np.asarray(picture.convert("L"))
    if "A" in picture.getbands() and grey.min() == grey.max():
        grey = np.asarray(picture.getchannel("A"))
    return grey > 0 if grey.max() <= 1 else grey >= 128


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an HxWx3 uint8 picture, or an HxW bool mask as 0/255, losslessly."""
    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    Image.fromarray(pixels).save(path, format="PNG")


def _open(path: str | Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of an image") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of an image") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    return ImageOps.exif_transpose(picture)


def _to_eight_bits(picture: Image.Image, *, keep_labels: bool = False) -> Image.Image:
    """Scale 16-bit and float grey pictures to 8 bits (labels 0/1 stay as they are)."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture).astype(np.float64)
    if keep_labels and values.max() <= 1:
        return Image.fromarray(values.astype(np.uint8))
    scale = 255.0 / 65535.0 if values.max() > 255 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
