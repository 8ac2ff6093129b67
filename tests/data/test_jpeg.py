"""JPEGs decoded lazily and at reduced scales: OpenCV and Pillow are the oracles."""

import io

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from rba.data.jpeg import DamagedJpegError, Jpeg
from rba.geometry import resize

PHOTO = skimage.data.astronaut()[:301, 40:443]  # of no whole number of JPEG's blocks


def written(mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(PHOTO).convert(mode).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def with_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return written(exif=exif)


FORMS = {
    "plain": written(),
    "grey": written("L"),
    "CMYK": written("CMYK"),
    "progressive": written(progressive=True),
    "whole chroma": written(subsampling=0),
    "RGB inside": written(keep_rgb=True),
    "zeros behind": written() + b"\0" * 512,
    "upright by EXIF": with_orientation(1),
    "turned by EXIF": with_orientation(6),
    "mirrored by EXIF": with_orientation(2),
    "damaged EXIF": written(exif=b"Exif\0\0MM\0*\0\0\xff\xff"),
    "chroma of a quarter": cv2.imencode(
        ".jpg", PHOTO, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    )[1].tobytes(),
}


@pytest.mark.parametrize("form", FORMS)
def test_whole_pictures_are_what_opencv_decodes(form):
    expected = cv2.imdecode(np.frombuffer(FORMS[form], np.uint8), cv2.IMREAD_COLOR_RGB)
    jpeg = Jpeg(FORMS[form])
    assert jpeg.shape == expected.shape
    np.testing.assert_array_equal(jpeg.pixels(), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_pictures_are_as_good_as_area_averages(form, reduction):
    jpeg = Jpeg(FORMS[form])
    whole, reduced = jpeg.pixels(), jpeg.pixels(reduction)
    height, width = (-(-length // reduction) for length in whole.shape[:2])
    assert reduced.shape == (height, width, 3)
    np.testing.assert_array_equal(reduced, Jpeg(FORMS[form]).pixels(reduction))
    # Cells that lie wholly inside; what JPEG pads the others with is nobody's business.
    rows, columns = (length // reduction for length in whole.shape[:2])
    inside = whole[: rows * reduction, : columns * reduction]
    error = reduced[:rows, :columns].astype(float) - resize(inside, rows, columns)
    limit = 60 if form == "chroma of a quarter" else 20  # 30 and 35 dB
    assert np.mean(error**2) < limit
    assert np.abs(error.mean()) < 0.5  # nothing is brighter, and nothing has moved:
    shifted = reduced[:rows, 1:columns].astype(float) - resize(inside, rows, columns)[:, :-1]
    assert np.mean(shifted**2) > 5 * limit


def test_damage_is_found_at_every_scale():
    cut = FORMS["plain"][: len(FORMS["plain"]) * 2 // 3] + b"\xff\xd9"
    for reduction in (1, 2, 4, 8):
        with pytest.raises(DamagedJpegError, match=r"damaged JPEG.*premature end"):
            Jpeg(cut).pixels(reduction)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "not a whole JPEG"), (FORMS["plain"][:-2], "not a whole JPEG"),
     (b"hello\xff\xd9", "not a readable JPEG"), (FORMS["plain"][:50] + b"\xff\xd9", "readable"),
     (FORMS["turned by EXIF"][:500] + b"\xff\xd9", "readable")],
)  # fmt: skip
def test_what_is_no_jpeg_is_refused_at_once(data, reason):
    with pytest.raises(DamagedJpegError, match=reason) as caught:
        Jpeg(data)
    assert str(len(data)) in caught.value.detail
    assert str(len(data)) not in caught.value.reason
