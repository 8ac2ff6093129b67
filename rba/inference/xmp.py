"""XMP of an original in its refined picture: what it says of the picture, not of its pixels."""

import re
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

_LEFT_OUT = (
    re.compile(rb"\s*tiff:Orientation=([\"'])[^\"']*\1"),
    re.compile(rb"<tiff:Orientation>[^<]*</tiff:Orientation>"),
    re.compile(rb"<(xmp|xap):Thumbnails>.*?</\1:Thumbnails>", re.DOTALL),
)
_JPEG_MOST = 65_000  # bytes that one segment of a JPEG holds, with its name


def kept_xmp(picture: Image.Image) -> bytes:
    """Return a picture's XMP without the rotation, which is applied, and the thumbnail.

    The thumbnail would show the defect. Empty where there is none.
    """
    given = picture.info.get("xmp")
    if not isinstance(given, bytes):
        return b""
    for pattern in _LEFT_OUT:
        given = pattern.sub(b"", given)
    return given.rstrip(b"\0")


def xmp_options(suffix: str, xmp: bytes, exif: bytes) -> dict[str, Any]:
    """Return the options that make Pillow write XMP into a file of this kind; none where it cannot.

    Args:
        suffix: Such as ``.png``, in lower case.
        xmp: `kept_xmp`.
        exif: What is written beside it.
    """
    if suffix == ".webp" or (suffix in (".jpg", ".jpeg") and len(xmp) <= _JPEG_MOST):
        return {"xmp": xmp}
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        return {"pnginfo": info}
    if suffix in (".tif", ".tiff"):  # there it is a tag beside those of EXIF
        tags = Image.Exif()
        tags.load(exif)
        tags[ExifTags.Base.XMLPacket] = xmp
        return {"exif": tags}
    return {}
