"""The refined picture in its original's form: what was not changed keeps its stored values."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from rba.errors import InputError
from rba.inference.original import in_form_of, write_like
from rba.inference.xmp import xmp_options
from rba.pictures import picture_to_pixels

SIZE = (24, 16)  # width, height
CHANGED = np.zeros((16, 24), bool)
CHANGED[4:9, 6:15] = True


def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)


def made(mode: str) -> Image.Image:
    """A picture of a mode with all kinds of values; alpha includes 0 and 255."""
    if mode.startswith(("I", "F")):
        values = np.random.default_rng(1).integers(0, 65536, (16, 24))
        values[0, 0] = 65535
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((values / 65535 if mode == "F" else values).astype(kind))
    picture = Image.fromarray(colours())
    if mode in ("RGBA", "LA"):
        alpha = np.random.default_rng(2).integers(0, 256, (16, 24)).astype(np.uint8)
        alpha[:2], alpha[2:6] = 0, 255
        picture.putalpha(Image.fromarray(alpha))
    return picture.convert(mode)


def wide_profile() -> bytes:
    """A profile of RGB with red and green swapped in their meaning: far from sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(swapped)


def refined_of(picture: Image.Image) -> np.ndarray:
    shown = picture_to_pixels(picture)[0].copy()
    shown[CHANGED] = (200, 120, 40)
    return shown


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "I;16", "I", "F", "CMYK"])
def test_mode_and_values_are_kept(mode: str) -> None:
    picture = made(mode)
    out = in_form_of(picture, refined_of(picture), CHANGED)
    assert out.mode == mode
    assert out.size == SIZE
    before, after = np.asarray(picture), np.asarray(out)
    assert before.dtype == after.dtype
    assert np.array_equal(before[~CHANGED], after[~CHANGED])
    assert (before != after)[CHANGED].any()
    shown = picture_to_pixels(out)[0].astype(int)[CHANGED]
    wanted = refined_of(picture).astype(int)[CHANGED]
    if mode in ("RGBA", "LA"):
        alpha = np.asarray(picture.getchannel("A"))
        assert np.array_equal(np.asarray(out.getchannel("A")), alpha)
        shown, wanted = shown[alpha[CHANGED] == 255], wanted[alpha[CHANGED] == 255]
    if mode in ("L", "LA", "I;16", "I", "F"):
        wanted = np.round(wanted @ [0.299, 0.587, 0.114])[:, None]
    assert np.abs(shown - wanted).max() <= 2


@pytest.mark.parametrize(
    ("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("PA", "RGBA"), ("YCbCr", "RGB")]
)
def test_modes_that_cannot_hold_new_colours(mode: str, becomes: str) -> None:
    picture = made("RGB").convert("P").convert(mode) if mode == "PA" else made("RGB").convert(mode)
    out = in_form_of(picture, refined_of(picture), CHANGED)
    assert out.mode == becomes
    assert np.array_equal(
        picture_to_pixels(out)[0][~CHANGED], picture_to_pixels(picture)[0][~CHANGED]
    )


def test_the_colour_profile_is_kept_and_the_new_pixels_are_in_it() -> None:
    picture = made("RGB")
    profile = wide_profile()  # it holds the time
    picture.info["icc_profile"] = profile
    refined = refined_of(picture)
    assert (refined != np.asarray(picture))[~CHANGED].any()  # the profile matters
    out = in_form_of(picture, refined, CHANGED)
    assert out.info["icc_profile"] == profile
    assert np.array_equal(np.asarray(out)[~CHANGED], np.asarray(picture)[~CHANGED])
    shown = picture_to_pixels(out)[0][CHANGED].astype(int)
    assert np.abs(shown - (200, 120, 40)).max() <= 40  # out of the other's gamut it is clipped
    damaged = made("RGB")
    damaged.info["icc_profile"] = b"no profile"
    out = in_form_of(damaged, refined_of(damaged), CHANGED)
    assert np.array_equal(np.asarray(out), refined_of(damaged))


def test_exif_is_kept_without_rotation_and_thumbnail(tmp_path: Path) -> None:
    picture = made("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "A. Person"
    exif[ExifTags.Base.ImageWidth] = 24
    exif[ExifTags.IFD.Exif] = {0xA002: 24, 0xA003: 16, 0x829A: 0.01}  # size, exposure
    exif[ExifTags.IFD.GPSInfo] = {1: "N"}
    for name in ("in.jpg", "in.png", "in.tif"):
        picture.save(tmp_path / name, exif=exif.tobytes(), dpi=(300, 300))
        with Image.open(tmp_path / name) as opened:
            upright = picture_to_pixels(opened)[0]
        for suffix in (".png", ".jpg", ".tif", ".webp"):
            path = tmp_path / f"out{suffix}"
            write_like(path, upright, CHANGED.T, tmp_path / name)
            with Image.open(path) as out:
                kept = out.getexif()
                assert out.size == SIZE[::-1]
                assert kept[ExifTags.Base.Artist] == "A. Person"
                assert ExifTags.Base.Orientation not in kept
                own = kept.get_ifd(ExifTags.IFD.Exif)
                assert own[0xA002] == 16
                assert float(own[0x829A]) == pytest.approx(0.01)
                assert kept.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
                if suffix != ".webp":
                    assert out.info["dpi"][0] == pytest.approx(300, abs=0.1)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:creator="A. Person" '
    b'tiff:Orientation="6"><tiff:Orientation>6</tiff:Orientation>'
    b"<xmp:Thumbnails>\nold\n</xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)
KEPT = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:creator="A. Person">'
    b"</rdf:Description></x:xmpmeta>"
)


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
def test_xmp_is_kept_without_rotation_and_thumbnail(tmp_path: Path, source: str) -> None:
    picture = made("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "A. Person"
    given = tmp_path / f"in{source}"
    picture.save(given, **({"exif": exif} | xmp_options(source, XMP, exif.tobytes())))
    with Image.open(given) as opened:
        assert opened.info["xmp"] == XMP
        upright = picture_to_pixels(opened)[0]
    assert upright.shape == (24, 16, 3), "XMP's rotation is applied"
    for suffix in (".png", ".jpg", ".tif", ".webp", ".bmp"):
        path = tmp_path / f"out{suffix}"
        assert not write_like(path, upright, CHANGED.T, given)
        with Image.open(path) as out:
            assert out.size == (16, 24)
            assert ImageOps.exif_transpose(out).size == (16, 24)
            if suffix != ".bmp":
                assert out.info["xmp"].replace(b'" >', b'">') == KEPT
                assert out.getexif()[ExifTags.Base.Artist] == "A. Person"


def test_xmp_that_a_format_cannot_hold_is_left_out(tmp_path: Path) -> None:
    picture = made("RGB")
    picture.save(tmp_path / "in.webp", lossless=True, xmp=b"<x>" + b"a" * 100_000)
    write_like(tmp_path / "out.jpg", colours(), CHANGED, tmp_path / "in.webp")
    with Image.open(tmp_path / "out.jpg") as out:
        assert "xmp" not in out.info


@pytest.mark.parametrize("name", ["a.png", "a.tif", "alpha.png", "a.ppm"])
def test_colours_of_16_bits_are_written_with_8_and_said_to_be(tmp_path: Path, name: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (16, 24, 4 if "alpha" in name else 3))
    cv2.imwrite(str(tmp_path / name), deep.astype(np.uint16))
    with Image.open(tmp_path / name) as opened:
        refined = refined_of(opened)
    assert write_like(tmp_path / "out.png", refined, CHANGED, tmp_path / name)
    grey = tmp_path / "grey.png"
    made("I;16").save(grey)
    assert not write_like(tmp_path / "out.png", refined, CHANGED, grey)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "I;16", "CMYK"])
def test_every_format_takes_every_mode(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = made(mode)
    source = tmp_path / ("source.jpg" if mode == "CMYK" else "source.png")
    picture.save(source)
    with Image.open(source) as opened:
        refined = refined_of(opened)
    write_like(tmp_path / f"out{suffix}", refined, CHANGED, source)
    with Image.open(tmp_path / f"out{suffix}") as out:
        assert out.size == SIZE
        if suffix == ".tiff" or (suffix == ".png" and mode != "CMYK"):
            assert out.mode == mode
        if suffix in (".png", ".bmp", ".tiff"):
            shown = picture_to_pixels(out)[0].astype(int)
            assert np.abs(shown - refined)[~CHANGED].max() <= (1 if mode == "I;16" else 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"out{suffix}", source.name])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's
def test_the_first_frame_counts_and_damage_in_exif_is_left_out(tmp_path: Path) -> None:
    first, second = made("RGB"), Image.new("RGB", SIZE)
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    write_like(tmp_path / "out.png", refined_of(first), CHANGED, tmp_path / "two.tif")
    with Image.open(tmp_path / "out.png") as out:
        assert np.array_equal(np.asarray(out), refined_of(first))
    broken = made("RGB")
    broken.info["exif"] = b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
    file = io.BytesIO()
    out = in_form_of(broken, refined_of(broken), CHANGED)
    out.save(file, "PNG")
    assert np.array_equal(np.asarray(out), refined_of(broken))


def test_a_format_that_is_too_small_is_an_error(tmp_path: Path) -> None:
    wide: Any = np.zeros((1, 20000, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    with pytest.raises(InputError, match="20000x1 pixels cannot be written"):
        write_like(tmp_path / "out.webp", wide, wide[..., 0] > 0, tmp_path / "wide.png")
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]
