"""Decode a photo's bytes fast: JPEGs at a reduced scale where that is enough, faults found."""

import dataclasses
import io
import re
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from rba.data.build.sizes import DroppedError, bounded
from rba.errors import InputError
from rba.geometry import resize
from rba.pictures import changes_colours, read_image_with_alpha, to_srgb

_ORIENTATION = 0x0112  # the tag of EXIF
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap width and height
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in JPEG's coded data: what ends it
# Where a PNG may say how it is turned; Pillow decodes one that does not, to look behind its pixels.
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_NO_DECODER = {b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIC", b"ftyphevc": "HEIC",
               b"JXL \r\n\x87\n": "JPEG XL"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PhotoHeader:
    """What is known before a photo is decoded.

    Attributes:
        height: Of the upright picture, pixels.
        width: Of the upright picture, pixels.
        frames: 1, or more for animations and for files of several pictures.
        orientation: 1 to 8, of EXIF; 1 = upright.
        is_jpeg: A grey or RGB JPEG.
        plain: Such a JPEG that is upright and in sRGB.
    """

    height: int
    width: int
    frames: int
    orientation: int
    is_jpeg: bool
    plain: bool


@dataclasses.dataclass(frozen=True)
class DecodedPhoto:
    """An upright picture in sRGB.

    Attributes:
        image: HxWx3 uint8.
        alpha: HxW bool, what is not transparent, at the size that the file says; None without.
    """

    image: np.ndarray
    alpha: np.ndarray | None


def read_header(data: bytes, most_pixels: int) -> PhotoHeader:
    """Look at a photo without decoding it.

    Raises:
        DroppedError: If it is no picture, or has more pixels than ``most_pixels``.
    """
    with _no_limit():
        try:
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
                if width * height > most_pixels:
                    raise DroppedError("too many pixels")
                jpeg = picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB")
                orientation = _orientation(picture, data)
                if orientation in _TURNED:
                    height, width = width, height
                plain = jpeg and orientation == 1 and not changes_colours(picture)
                # Of a phone's JPEG these are no frames but its depth map or a smaller copy.
                frames = 1 if jpeg else getattr(picture, "n_frames", 1)
                return PhotoHeader(height, width, frames, orientation, jpeg, plain)
        except UnidentifiedImageError as error:
            raise DroppedError(_unknown(data)) from error
        except DroppedError:
            raise
        # Damaged bytes make Pillow's parsers raise nearly anything.
        except Exception as error:
            raise DroppedError("unreadable") from error


def decode_photo(
    data: bytes, header: PhotoHeader, longest: int, *, exact: bool = True
) -> DecodedPhoto:
    """Decode a photo and shrink it to a longest side of ``longest`` pixels; never enlarge it.

    Args:
        data: The file.
        header: What `read_header` said of it.
        longest: Pixels.
        exact: False = a JPEG may be up to twice as large, where that is faster.

    Raises:
        DroppedError: If the bytes are damaged.
    """
    size = bounded(header.height, header.width, longest)
    if not header.is_jpeg:
        with _no_limit():
            try:
                image, alpha = read_image_with_alpha(io.BytesIO(data))
            except InputError as error:
                raise DroppedError("unreadable") from error
        return DecodedPhoto(image if image.shape[:2] == size else resize(image, *size), alpha)
    height, width = size[::-1] if header.orientation in _TURNED else size
    try:
        # From a factor of 2 on, decoding at a reduced scale is faster; strict: damage is an error.
        image = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=2, strict=True
        )
    except ValueError as error:
        raise DroppedError("damaged JPEG") from error
    if exact and image.shape[:2] != (height, width):
        image = resize(image, height, width)
    image = _turn(image, header.orientation)
    return DecodedPhoto(image if header.plain else _convert(image, data), None)


def whole_jpeg(data: bytes) -> bytes:
    """Return a JPEG without what follows its end: other pictures, depth maps, rubbish.

    Raises:
        DroppedError: If it has no end.
    """
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if marker == 0xD9:
            return data[: position + 2]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
        else:
            while data[position : position + 2] == b"\xff\xff":
                position += 1  # fill bytes may stand before a marker
    if data[position : position + 2] == b"\xff\xd9":
        return data[: position + 2]
    raise DroppedError("damaged JPEG")


def _convert(image: np.ndarray, data: bytes) -> np.ndarray:
    """Apply the colour profile of a file to its picture, decoded already."""
    with _no_limit(), Image.open(io.BytesIO(data)) as header:
        if not changes_colours(header):
            return image
        grey = header.mode == "L"
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0]) if grey else image)
        picture.info["icc_profile"] = header.info["icc_profile"]
    return np.asarray(to_srgb(picture))


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored picture upright."""
    if orientation in _TURNED:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _orientation(picture: Image.Image, data: bytes) -> int:
    if picture.format == "PNG" and not any(name in data for name in _PNG_EXIF):
        return 1
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    # Damaged EXIF makes Pillow raise nearly anything, and says nothing of the picture.
    except Exception:
        return 1
    return found if found in range(1, 9) else 1


def _unknown(data: bytes) -> str:
    for magic, name in _NO_DECODER.items():
        if data[4:12] == magic:
            return f"no decoder for {name}"
    return "no decoder for JPEG XL" if data.startswith(b"\xff\x0a") else "unreadable"


@contextmanager
def _no_limit() -> Generator[None]:
    """Take Pillow's own limit of pixels away: ours is a setting."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
