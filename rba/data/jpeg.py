"""JPEGs that are decoded when their pixels are asked for, at a reduced scale where that is enough.

simplejpeg gives the pixels of OpenCV and Pillow (all are libjpeg-turbo) in less time, decodes at
reduced scales, and says where they show damage as grey blocks: ``benchmarks/decoders.py``.
"""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from rba.data.reduction import reduce_picture

_END = b"\xff\xd9"
_EXIF = b"Exif\0\0"
_EXIF_WITHIN = 2**17  # bytes; two segments of the largest size
_ORIENTATION = 0x0112  # the tag of EXIF


class DamagedJpegError(ValueError):
    """The bytes are no whole JPEG.

    Args:
        reason: What is wrong, the same words wherever it is the same.
        detail: Particulars of this picture.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason = reason
        self.detail = detail


class Jpeg:
    """The bytes of a JPEG, and its size.

    Pictures that EXIF turns, or in a form that simplejpeg does not know, are decoded by OpenCV at
    once.

    Args:
        data: The file; zeros may follow its end.
        name: What errors call it.

    Attributes:
        shape: Height and width of the upright picture in pixels, and 3.

    Raises:
        DamagedJpegError: If the bytes have no header or no end.
    """

    def __init__(self, data: bytes, name: str = "the picture") -> None:
        # Decoders fill the rest of a truncated file with grey.
        if not data.rstrip(b"\0").endswith(_END):
            raise DamagedJpegError(f"{name} is not a whole JPEG", f"{len(data)} bytes")
        self._data, self._name = data, name
        self._whole: np.ndarray | None = None
        size = None if _may_be_turned(data) else _size(data)
        if size is None:
            self._whole = _decode_any(data, name)
            size = (self._whole.shape[0], self._whole.shape[1])
        self.shape = (*size, 3)

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """Return the picture, HxWx3 uint8 RGB.

        Args:
            reduction: 1, 2, 4 or 8; the result has 1/reduction of height and width, rounded up.

        Raises:
            DamagedJpegError: If the bytes are damaged.
        """
        if self._whole is not None:
            return reduce_picture(self._whole, reduction)
        height, width = (-(-length // reduction) for length in self.shape[:2])
        try:
            return simplejpeg.decode_jpeg(
                self._data, "RGB", min_height=height, min_width=width, min_factor=reduction
            )
        except ValueError as error:
            reason, detail = f"{self._name} is a damaged JPEG", f"its decoder says: {error}"
            raise DamagedJpegError(reason, detail) from error


def _size(data: bytes) -> tuple[int, int] | None:
    """Return height and width; None where simplejpeg does not know the form."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return int(height), int(width)


def _may_be_turned(data: bytes) -> bool:
    if data.find(_EXIF, 0, _EXIF_WITHIN) < 0:
        return False
    try:
        with Image.open(io.BytesIO(data)) as header:
            return header.getexif().get(_ORIENTATION, 1) != 1
    # Damaged EXIF makes Pillow raise nearly anything; OpenCV then says whether it is a picture.
    except Exception:
        return True


def _decode_any(data: bytes, name: str) -> np.ndarray:
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if whole is None:
        raise DamagedJpegError(f"{name} is not a readable JPEG", f"{len(data)} bytes")
    return whole
