"""Files that users drop: refused in one sentence, read once, deleted."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image

from rba.errors import InputError
from rba.pictures import loses_depth, read_image_with_alpha, read_mask

_SMALLEST_SIDE = 16
KINDS = "PNG, JPEG, WebP, BMP or TIFF"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What the page takes.

    Attributes:
        file_megabytes: Largest file.
        megapixels: Largest picture.
        references: Most references at a time.
        queue: Most computations that wait; further ones are refused.
        results: Most results kept a browser session; the oldest goes first.

    Raises:
        InputError: If one is not positive.
    """

    file_megabytes: int = 50
    megapixels: int = 50
    references: int = 8
    queue: int = 8
    results: int = 12

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise InputError(f"the limit {name} is {value}; give 1 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it was dropped.

    Attributes:
        name: The file's name.
        pixels: HxWx3 uint8 sRGB, upright, in the original size.
        object_mask: HxW bool, from its alpha channel; None without one.
        reduced: Its colours have more than the 8 bits a channel that are read.
        content: The file's bytes, whose form the refined picture gets; None for an example.
    """

    name: str
    pixels: np.ndarray
    object_mask: np.ndarray | None
    reduced: bool = False
    content: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def size_text(self) -> str:
        """Width and height as people write them."""
        return f"{self.pixels.shape[1]} x {self.pixels.shape[0]} pixels"


def take_picture(path: str | Path, limits: Limits) -> Picture:
    """Read a dropped picture and delete the file.

    Raises:
        InputError: If it is no picture, damaged, too large, too small or wholly transparent.
    """
    name, content = take_file(path, limits)
    try:
        pixels, alpha = read_image_with_alpha(io.BytesIO(content))
    except InputError as error:
        raise _unreadable(name) from error
    if min(pixels.shape[:2]) < _SMALLEST_SIDE:
        raise InputError(
            f"“{name}” is only {pixels.shape[1]} x {pixels.shape[0]} pixels; each side needs at "
            f"least {_SMALLEST_SIDE}."
        )
    if alpha is not None and not alpha.any():
        raise InputError(f"“{name}” is wholly transparent; drop a picture that shows something.")
    with Image.open(io.BytesIO(content)) as header:
        reduced = loses_depth(header)
    return Picture(name=name, pixels=pixels, object_mask=alpha, reduced=reduced, content=content)


def take_mask(path: str | Path, size: tuple[int, int], limits: Limits) -> np.ndarray:
    """Read a dropped mask file, white on the defect, and delete it.

    Args:
        path: The file.
        size: (height, width) of the picture that it belongs to.
        limits: What the page takes.

    Raises:
        InputError: If it is no mask, or of another size.
    """
    name, content = take_file(path, limits)
    try:
        mask = read_mask(io.BytesIO(content))
    except InputError as error:
        raise InputError(
            f"“{name}” cannot be read as a mask; it must be white on the defect, black elsewhere."
        ) from error
    if mask.shape != size:
        raise InputError(
            f"“{name}” is {mask.shape[1]} x {mask.shape[0]} pixels, the picture {size[1]} x "
            f"{size[0]}; a mask must have the picture's size."
        )
    if not mask.any():
        raise InputError(f"“{name}” marks nothing; it must be white on the defect.")
    return mask


def take_file(path: str | Path, limits: Limits) -> tuple[str, bytes]:
    """Return name and bytes of a dropped file whose header promises a picture, and delete it.

    Raises:
        InputError: If it is no picture, too large, or gone.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"“{path.name}” did not arrive; drop it again.") from error
    finally:
        path.unlink(missing_ok=True)
    if len(content) > limits.file_megabytes * 2**20:
        raise InputError(
            f"“{path.name}” is {len(content) / 2**20:.0f} MB; at most {limits.file_megabytes} MB "
            "are taken."
        )
    try:
        with Image.open(io.BytesIO(content)) as header:
            width, height = header.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path.name, "far too many pixels", limits) from error
    # Pillow's openers raise nearly anything at damaged bytes.
    except Exception as error:
        raise _unreadable(path.name) from error
    if width * height > limits.megapixels * 10**6:
        raise _too_large(path.name, f"{width} x {height} pixels", limits)
    return path.name, content


def _too_large(name: str, size: str, limits: Limits) -> InputError:
    return InputError(f"“{name}” has {size}; at most {limits.megapixels} million pixels are taken.")


def _unreadable(name: str) -> InputError:
    return InputError(f"“{name}” cannot be read as a picture; drop a {KINDS} file.")
