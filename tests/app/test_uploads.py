"""Dropped files: read once, deleted, refused in one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rba.app.uploads import Limits, take_mask, take_picture
from rba.errors import InputError

LIMITS = Limits(file_megabytes=1, megapixels=1)


def test_a_picture_is_read_and_its_file_deleted(dropped: Callable[..., str]) -> None:
    path = dropped("photo.png")
    expected = np.asarray(Image.open(path))
    picture = take_picture(path, LIMITS)
    assert (picture.name, picture.size) == ("photo.png", (60, 80))
    assert np.array_equal(picture.pixels, expected)
    assert not Path(path).exists()


def refusal(path: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        take_picture(path, LIMITS)
    assert not Path(path).exists(), "refused files are deleted as well"
    assert "\n" not in str(caught.value)
    assert str(Path(path).parent) not in str(caught.value), "no path of the server is shown"
    return str(caught.value)


def test_what_is_no_picture_is_refused(tmp_path: Path, dropped: Callable[..., str]) -> None:
    lying = tmp_path / "text.png"
    lying.write_text("hello")
    assert "“text.png” cannot be read as a picture; drop a PNG" in refusal(lying)
    whole = Path(dropped("half.png"))
    whole.write_bytes(whole.read_bytes()[:5000])
    assert "“half.png” cannot be read" in refusal(whole)
    assert "did not arrive" in refusal(tmp_path / "gone.png")


def test_sizes_beyond_the_limits_are_refused(
    tmp_path: Path, dropped: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "only 80 x 8 pixels" in refusal(dropped("flat.png", height=8))
    assert "is 3 MB; at most 1 MB" in refusal(dropped("large.bmp", 1000, 1000))
    wide = tmp_path / "wide.png"
    Image.new("L", (5000, 400)).save(wide)
    assert "5000 x 400 pixels; at most 1 million" in refusal(wide)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert "far too many pixels; at most 1 million" in refusal(dropped("bomb.png"))
    monkeypatch.undo()
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (40, 40)).save(clear)
    assert "wholly transparent" in refusal(clear)


@pytest.mark.parametrize(
    ("size", "value", "words"),
    [
        ((40, 30), 255, "is 40 x 30 pixels, the picture 80 x 60"),
        ((80, 60), 0, "marks nothing"),
        ((80, 60), 100, "cannot be read as a mask"),
    ],
)
def test_a_mask_must_fit_and_mark_something(
    tmp_path: Path, size: tuple[int, int], value: int, words: str
) -> None:
    def mask(size: tuple[int, int], value: int) -> Path:
        pixels = Image.new("L", size)
        pixels.paste(value, (5, 5, 20, 20))
        pixels.save(tmp_path / "mask.png")
        return tmp_path / "mask.png"

    assert take_mask(mask((80, 60), 255), (60, 80), LIMITS).sum() == 225
    with pytest.raises(InputError, match=words):
        take_mask(mask(size, value), (60, 80), LIMITS)


def test_limits_must_be_positive() -> None:
    with pytest.raises(InputError, match="references is 0"):
        Limits(references=0)
