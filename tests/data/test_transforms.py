import numpy as np
import pytest

from rba.data.transforms import ColorAugmentation, ColorSettings
from rba.errors import InputError

STRONG = ColorSettings(
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, blur=2.0, blur_probability=0.5
)


def test_a_pure_function_of_the_generator(make):
    image = make.picture(40, 40)
    augment = ColorAugmentation(STRONG)
    one = [augment(image, np.random.default_rng(seed)) for seed in range(6)]
    other = ColorAugmentation(STRONG)
    two = [other(image, np.random.default_rng(seed)) for seed in reversed(range(6))][::-1]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in one}) == 6
    assert all(a.dtype == np.uint8 and a.shape == image.shape for a in one)


def test_no_strength_changes_nothing_but_draws_the_same(make):
    image, rng, other = make.picture(40, 40), np.random.default_rng(0), np.random.default_rng(0)
    np.testing.assert_array_equal(ColorAugmentation(ColorSettings())(image, rng), image)
    ColorAugmentation(STRONG)(image, other)
    assert rng.random() == other.random()


def test_pictures_are_never_mirrored(make):
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 1, 3))
    augment = ColorAugmentation(STRONG)
    for seed in range(20):
        row = augment(ramp, np.random.default_rng(seed)).mean(axis=(0, 2))
        assert row[-10:].mean() > row[:10].mean()


def test_blur_blurs_and_brightness_stays_near(make):
    image = make.picture(64, 64)
    blur = ColorAugmentation(ColorSettings(blur=3.0, blur_probability=1.0))
    results = [blur(image, np.random.default_rng(seed)) for seed in range(8)]
    assert (
        min(np.abs(np.diff(r.astype(int), axis=1)).mean() for r in results)
        < 0.9 * np.abs(np.diff(image.astype(int), axis=1)).mean()
    )


@pytest.mark.parametrize("bad", [{"hue": 0.6}, {"brightness": -0.1}, {"blur_probability": 2}])
def test_bad_strengths(bad):
    with pytest.raises(InputError, match=rf"color\.{next(iter(bad))}"):
        ColorSettings(**bad)
