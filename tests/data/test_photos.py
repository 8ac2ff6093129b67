"""Photos as people have them: the right pixels, the file's own bytes if they do, or a reason."""

import io
import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from rba.data.build import DroppedError
from rba.data.photo_lists import Photo
from rba.data.photos import PhotoLimits, PhotoLoader
from rba.data.sample import AlignmentRecord

HEIGHT, WIDTH = 90, 120


def clouds(height=HEIGHT, width=WIDTH, seed=0):
    coarse = np.random.default_rng(seed).integers(30, 226, (7, 9, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


PICTURE = clouds()


def encoded(picture, kind="JPEG", **options):
    stream = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(
        stream, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}), **options
    )
    return stream.getvalue()


@pytest.fixture
def load(tmp_path):
    """Write a file and load it: the sample, its record, and where its bytes lie."""

    def write(data, name="photo.jpg", facts=None, **limits):
        (tmp_path / name).write_bytes(data)
        usual = {"shortest_side": 16, **limits}
        loader = PhotoLoader(str(tmp_path), PhotoLimits(**usual))
        made = loader(Photo(name, name, facts or {}), "key")
        return made, AlignmentRecord.decode("key", made.members)

    return write


def reason(load, *arguments, **options):
    with pytest.raises(DroppedError) as caught:
        load(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_a_jpeg_that_needs_no_change_is_stored_as_it_is(load, options):
    data = encoded(PICTURE, **options)
    made, record = load(data)
    assert made.members["jpg"] == data
    assert record.image.shape == PICTURE.shape
    assert record.metadata == {"source": "photo.jpg", "path": "photo.jpg"}


def test_a_grey_jpeg_and_one_with_exif_are_stored_as_they_are(load):
    exif = Image.Exif()
    exif[0x010E] = "described \xff\xd9"
    exif[0x0112] = 1
    for data in (encoded(PICTURE[..., 0]), encoded(PICTURE, exif=exif)):
        assert load(data)[0].members["jpg"] == data


def test_what_follows_the_end_of_a_jpeg_is_cut(load):
    data = encoded(PICTURE, progressive=True)
    second = io.BytesIO()
    Image.fromarray(PICTURE).save(
        second, "MPO", save_all=True, append_images=[Image.fromarray(PICTURE[::2, ::2])]
    )
    assert load(data + b"rubbish \xff\xd9 more")[0].members["jpg"] == data
    made, record = load(second.getvalue())
    assert len(made.members["jpg"]) < len(second.getvalue()) * 0.8
    assert record.image.shape == PICTURE.shape
    assert "frames" not in record.metadata


def test_large_photos_are_shrunk_and_say_so(load):
    big = clouds(900, 1400)
    for kind in ("JPEG", "PNG"):
        made, record = load(encoded(big, kind), longest_side=300)
        assert record.image.shape == (193, 300, 3)
        assert record.metadata["original_size"] == [1400, 900]
        wanted = cv2.resize(big, (300, 193), interpolation=cv2.INTER_AREA)
        assert np.abs(record.image.astype(int) - wanted).mean() < 3
        assert "mask.png" not in made.members


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("longest", [1024, 60])
def test_exif_rotation_is_applied(load, tmp_path, orientation, longest):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, exif=exif)
    (tmp_path / "stored.jpg").write_bytes(data)
    upright = cv2.imread(str(tmp_path / "stored.jpg"))[..., ::-1]  # OpenCV applies it as well
    made, record = load(data, longest_side=longest)
    assert (made.members["jpg"] == data) == (orientation == 1 and longest > 120)
    wanted = cv2.resize(upright, record.image.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(record.image.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize("place", ["eXIf", "before", "behind", "nowhere"])
def test_a_png_is_turned_by_whatever_says_so_and_decoded_once(load, place, monkeypatch):
    exif, words = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    if place in ("before", "behind"):  # the pixels
        words.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    data = encoded(PICTURE, "PNG", pnginfo=words, **({"exif": exif} if place == "eXIf" else {}))
    if place == "behind":
        start, end = data.index(b"iTXt") - 4, data.index(b"IDAT") - 4
        data = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    decoded, usual = [], PngImagePlugin.PngImageFile.load_prepare

    def prepare(picture):
        decoded.append(picture)
        usual(picture)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", prepare)
    _, record = load(data)
    turned = PICTURE if place == "nowhere" else np.rot90(PICTURE, -1)
    assert np.abs(record.image.astype(int) - turned).mean() < 4
    assert len(decoded) == 1 or place != "nowhere"


def swapped_profile():
    """A profile whose red is sRGB's blue and the other way round."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile.count(b"rXYZ") == profile.count(b"bXYZ") == 1
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "alpha"])
@pytest.mark.parametrize("longest", [1024, 60])
def test_colour_profiles_become_srgb(load, kind, longest):
    profile = swapped_profile()
    stored = PICTURE
    if kind == "alpha":
        stored = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    data = encoded(stored, "JPEG" if kind == "JPEG" else "PNG", icc_profile=profile)
    _, record = load(data, longest_side=longest)
    small = cv2.resize(PICTURE, record.image.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(record.image.astype(int) - small[..., ::-1]).mean() < 5


def test_an_srgb_or_unreadable_profile_changes_nothing(load):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        data = encoded(PICTURE, icc_profile=profile)
        assert load(data)[0].members["jpg"] == data


def test_cmyk_jpegs_keep_their_colours(load):
    data = encoded(Image.fromarray(PICTURE).convert("CMYK"))
    assert b"Adobe" in data, "inverted, as Photoshop writes them"
    made, record = load(data)
    assert made.members["jpg"] != data
    assert np.abs(record.image.astype(int) - PICTURE).mean() < 6


def sixteen_bit_png(pixels):
    """A 16-bit RGB PNG, which Pillow cannot write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name, data):
        whole = name + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_sixteen_bit_pngs_keep_their_tones(load):
    grey = PICTURE[..., 0].astype(np.uint16) * 257
    _, record = load(encoded(Image.fromarray(grey), "PNG"), "grey.png")
    assert np.abs(record.image.astype(int) - PICTURE[..., :1]).mean() < 4
    _, record = load(sixteen_bit_png(PICTURE.astype(np.uint16) * 257), "rgb.png")
    assert np.abs(record.image.astype(int) - PICTURE).mean() < 5


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_kept(load, kind):
    frames = [Image.fromarray(clouds(seed=n)) for n in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    _, record = load(data, "moving.png")
    assert record.metadata["frames"] == 3
    assert np.abs(record.image.astype(int) - clouds(seed=0)).mean() < 5


def test_masks_come_from_the_sidecar_or_alpha_at_the_stored_size(load, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:60, 30:90] = 255
    data = encoded(np.dstack([PICTURE, mask]), "PNG")
    for longest in (1024, 60):
        _, record = load(data, "a.png", longest_side=longest)
        assert record.mask is not None
        assert record.mask.mean() == pytest.approx((mask > 0).mean(), abs=0.02)
    Image.fromarray(mask).save(tmp_path / "photo.mask.png")
    jpeg = encoded(PICTURE)
    made, record = load(jpeg)
    assert made.members["jpg"] == jpeg
    np.testing.assert_array_equal(record.mask, mask > 0)
    for broken in (b"", b"no mask"):
        (tmp_path / "photo.mask.png").write_bytes(broken)
        assert reason(load, jpeg) == "unreadable mask"


def test_licence_and_author_stay_with_the_photo(load, tmp_path):
    (tmp_path / "photo.json").write_text('{"author": "Zoë", "licence": "CC0", "views": NaN}')
    facts = {"licence": "CC BY", "source": "https://example.org/1"}
    _, record = load(encoded(PICTURE), facts=facts)
    assert record.metadata == {
        "author": "Zoë", "licence": "CC BY", "views": None,
        "source": "https://example.org/1", "path": "photo.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "unreadable metadata"),
        ("{", "unreadable metadata"),
        ('{"author": "\\ud800"}', "unreadable metadata"),
        ('{"a": "' + "x" * 70000 + '"}', "metadata of more than 64 KiB"),
        ("", "unreadable metadata"),
    ],
)
def test_metadata_that_cannot_be_kept_is_a_reason(load, tmp_path, content, words):
    (tmp_path / "photo.json").write_text(content)
    assert reason(load, encoded(PICTURE)) == words


def test_photos_that_teach_nothing_are_dropped(load):
    sharp = clouds(400, 500)
    sharp[::7] = 0
    flat = np.full((400, 500, 3), 90, np.uint8) + np.random.default_rng(0).integers(
        0, 9, (400, 500, 3), np.uint8
    )
    limits = {"min_sharpness": 10, "min_contrast": 4}
    load(encoded(sharp), **limits)
    assert reason(load, encoded(cv2.GaussianBlur(sharp, (0, 0), 9)), **limits) == "blurred"
    assert reason(load, encoded(flat), **limits) == "nearly one colour"
    load(encoded(flat))
    assert reason(load, encoded(sharp), shortest_side=401) == "too small"


def test_bytes_that_are_no_photo_have_reasons(load):
    data = encoded(PICTURE)
    assert reason(load, b"") == "empty file"
    assert reason(load, b"<html>404</html>") == "unreadable"
    assert reason(load, data[: len(data) // 2]) == "damaged JPEG"
    assert reason(load, data[:-1]) == "damaged JPEG"
    assert reason(load, encoded(PICTURE, "PNG")[:-2000], "a.png") == "unreadable"
    assert reason(load, b"\0\0\0\x18ftypheic" + bytes(99), "a.heic") == "no decoder for HEIC"
    assert reason(load, b"\xff\x0a" + bytes(99), "a.jxl") == "no decoder for JPEG XL"
    assert reason(load, data, most_pixels=1000) == "too many pixels"


def test_a_decompression_bomb_is_never_decoded(load, monkeypatch):
    bomb = sixteen_bit_png(np.zeros((4, 4, 3), np.uint16))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = bomb[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:]
    assert reason(load, bomb, "bomb.png") == "too many pixels"


def test_damaged_jpegs_are_found_not_stored(load):
    """OpenCV and Pillow show grey blocks for these; a strict decoder says so."""
    data = encoded(clouds(200, 300))
    middle = len(data) // 2
    broken = data[:middle] + b"\xff\xd0\xff\xd1" * 40 + data[middle + 160 :]
    assert reason(load, broken) == "damaged JPEG"


def test_files_that_cannot_be_opened_have_reasons(tmp_path):
    loader = PhotoLoader(str(tmp_path), PhotoLimits(shortest_side=16))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "gone.jpg": "broken link", "a.jpg": "link loop", "folder.jpg": "not a file",
        "pipe.jpg": "not a file", "missing.jpg": "missing",
    }  # fmt: skip
    for name, words in reasons.items():
        with pytest.raises(DroppedError, match=words):
            loader(Photo(name, name), "key")


def test_a_file_without_permission_has_a_reason(as_nobody):
    folder, run = as_nobody
    (folder / "mine.jpg").write_bytes(encoded(PICTURE))
    (folder / "mine.jpg").chmod(0)
    loader = PhotoLoader(str(folder), PhotoLimits(shortest_side=16))
    with pytest.raises(DroppedError, match="no permission"):
        run(lambda: loader(Photo("mine.jpg", "mine.jpg"), "key"))


def test_records_are_json_that_anyone_can_read(load):
    made, _ = load(encoded(PICTURE), facts={"title": "naïve “photo”"})
    assert json.loads(made.members["json"])["title"] == "naïve “photo”"
