"""Give a refined picture the form of the original: mode, alpha, colour profile, EXIF, XMP."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from rba.errors import InputError
from rba.inference.xmp import kept_xmp, xmp_options
from rba.pictures import changes_colours, full_scale, loses_depth

LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff"})
_EVERYWHERE = frozenset({"L", "RGB"})
_MODES = {
    ".png": _EVERYWHERE | {"LA", "RGBA", "I", "I;16"},
    ".webp": frozenset({"RGB", "RGBA"}),
    ".bmp": _EVERYWHERE,
    ".jpg": _EVERYWHERE | {"CMYK"},
    ".jpeg": _EVERYWHERE | {"CMYK"},
    ".tif": _EVERYWHERE | {"LA", "RGBA", "I", "I;16", "I;16B", "F", "CMYK"},
    ".tiff": _EVERYWHERE | {"LA", "RGBA", "I", "I;16", "I;16B", "F", "CMYK"},
}
_ALL_MODES = frozenset().union(*_MODES.values())
_DESCRIPTIVE = frozenset(  # EXIF of the first directory; the rest tells how pixels were stored
    tag.value
    for tag in (
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Copyright,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    )
)


def in_form_of(
    original: Image.Image,
    refined: np.ndarray,
    changed: np.ndarray,
    modes: frozenset[str] = _ALL_MODES,
) -> Image.Image:
    """Bring a refined picture into its original's mode; what was not changed keeps its values.

    Args:
        original: As it was opened, of any mode. Its first frame counts.
        refined: HxWx3 uint8 sRGB, upright, on black where the original is transparent.
        changed: HxW bool; everywhere else the original's own values stay, bit for bit.
        modes: What can be written; another mode becomes the plain sRGB picture.

    Returns:
        The original's mode, upright, with its alpha; palettes become colours, black-and-white
        pictures grey, and exotic modes RGB. ``info`` holds ``icc_profile`` where the values are in
        it, ``dpi``, and ``exif`` and ``xmp`` without thumbnail and rotation.
    """
    upright = _with_own_colours(ImageOps.exif_transpose(original))
    picture = None
    if upright.mode in modes:
        mended = _in_mode(upright, Image.fromarray(refined))
        if mended is not None:
            picture = _merged(upright, mended, changed)
    if picture is None:
        picture = Image.fromarray(refined)
    elif "icc_profile" in upright.info:
        picture.info["icc_profile"] = upright.info["icc_profile"]
    if "dpi" in original.info:
        picture.info["dpi"] = original.info["dpi"]
    for name, text in (
        ("exif", _description(original, picture.size)),
        ("xmp", kept_xmp(original)),
    ):
        if text:
            picture.info[name] = text
    return picture


def write_like(
    path: Path, refined: np.ndarray, changed: np.ndarray, original: str | Path | BinaryIO
) -> bool:
    """Write a refined picture in the form of its original's file, as far as the format holds it.

    It is written beside its name, then renamed: a reader never sees half a file.

    Returns:
        Whether the original's colours had more than the 8 bits a channel that are written.

    Raises:
        InputError: If the format does not hold it (WebP ends at 16383 pixels) or the disk is full.
    """
    with Image.open(original) as opened:
        reduced = loses_depth(opened)
        opened.load()
        picture = in_form_of(opened, refined, changed, _MODES[path.suffix.lower()])
    write_picture(path, picture)
    return reduced


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture with the profile, EXIF, XMP and resolution of its ``info``: `write_like`."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    options: dict[str, Any] = {
        name: picture.info[name] for name in ("icc_profile", "exif", "dpi") if name in picture.info
    }
    if "xmp" in picture.info:
        exif = options.get("exif", b"")
        options |= xmp_options(path.suffix.lower(), picture.info["xmp"], exif)
    if path.suffix.lower() not in LOSSLESS:
        options["quality"] = 95
    try:
        picture.save(partial, **options)
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--output {path}: {picture.width}x{picture.height} pixels cannot be written: {error}; "
            "try .png, another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _with_own_colours(picture: Image.Image) -> Image.Image:
    """Return a picture without palette and colour key, in a mode that `_in_mode` knows."""
    clear = "transparency" in picture.info
    wanted = {"1": "L", "PA": "RGBA", "P": "RGBA" if clear else "RGB"}.get(picture.mode)
    if clear and picture.mode in ("L", "RGB"):
        wanted = {"L": "LA", "RGB": "RGBA"}[picture.mode]
    if wanted is None:
        known = picture.mode in _ALL_MODES or picture.mode.startswith("I;16")
        wanted = picture.mode if known else "RGB"
    return picture if wanted == picture.mode else picture.convert(wanted)


def _in_mode(upright: Image.Image, refined: Image.Image) -> Image.Image | None:
    """Convert the refined sRGB picture to the original's mode and profile; None where none can."""
    if upright.mode.startswith(("I", "F")):
        values = np.asarray(upright)
        scaled = np.asarray(refined.convert("L")) * (full_scale(values, upright.mode) / 255.0)
        whole = np.issubdtype(values.dtype, np.integer)
        return Image.fromarray((np.rint(scaled) if whole else scaled).astype(values.dtype))
    if "A" not in upright.getbands():
        return _in_profile(refined, upright, upright.mode)
    alpha = upright.getchannel("A")
    shown = np.asarray(alpha, np.float64)[..., None]
    pixels = np.asarray(refined)
    own = np.where(shown > 0, pixels * 255.0 / np.maximum(shown, 1.0), pixels)
    stored = Image.fromarray(np.rint(np.minimum(own, 255.0)).astype(np.uint8))
    colours = _in_profile(stored, upright, "L" if upright.mode == "LA" else "RGB")
    if colours is not None:
        colours.putalpha(alpha)
    return colours


def _in_profile(refined: Image.Image, upright: Image.Image, mode: str) -> Image.Image | None:
    """Convert sRGB to a mode in the original's profile; None where the profile has no way back."""
    own = Image.new(mode, (1, 1))
    profile = upright.info.get("icc_profile")
    if profile:
        own.info["icc_profile"] = profile
    if not profile or not changes_colours(own):
        return refined.convert(mode)
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(refined, ImageCms.buildTransform(srgb, target, "RGB", mode))
    except ImageCms.PyCMSError:
        return None


def _merged(upright: Image.Image, mended: Image.Image, changed: np.ndarray) -> Image.Image:
    if upright.mode.startswith(("I", "F")):
        values = np.where(changed, np.asarray(mended), np.asarray(upright))
        return Image.fromarray(values)
    picture = Image.new(upright.mode, upright.size)
    picture.paste(upright)
    picture.paste(mended, mask=Image.fromarray(changed.astype(np.uint8) * 255))
    return picture


def _description(original: Image.Image, size: tuple[int, int]) -> bytes:
    """Return the EXIF that describes the picture; nothing where it is damaged.

    Left out are the thumbnail, which shows the defect, the rotation, which is applied, and what
    says how the pixels were stored.
    """
    kept = Image.Exif()
    try:
        given = original.getexif()
        for tag, value in given.items():
            if tag in _DESCRIPTIVE:
                kept[tag] = value
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = dict(given.get_ifd(directory))
            values.pop(ExifTags.IFD.Interop, None)
            for tag, length in zip((0xA002, 0xA003), size, strict=True):
                if directory == ExifTags.IFD.Exif and tag in values:
                    values[tag] = length
            if values:
                kept[directory] = values
        return kept.tobytes() if len(kept) else b""
    # Damaged bytes make Pillow raise nearly anything, as when pictures are read.
    except Exception:
        return b""
