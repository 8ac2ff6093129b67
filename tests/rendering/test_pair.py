import time

import numpy as np
import pytest

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering.pair import PairSettings, render_pair
from rba.rendering.textures import load_textures
from rba.rendering.view import compose, draw_background, draw_light


@pytest.fixture(scope="module")
def textures() -> dict[str, np.ndarray]:
    return load_textures(None, "train")


def test_same_state_same_pair_byte_for_byte(textures: dict[str, np.ndarray]) -> None:
    pairs = [render_pair(textures, keyed_generator(2, "pair", "x", 4), 64) for _ in range(2)]
    other = render_pair(textures, keyed_generator(2, "pair", "x", 5), 64)
    for name in ("first", "second"):
        one, two = getattr(pairs[0], name), getattr(pairs[1], name)
        assert one.image.tobytes() == two.image.tobytes()
        assert one.correspondence.tobytes() == two.correspondence.tobytes()
        assert one.image.tobytes() != getattr(other, name).image.tobytes()


def test_order_of_textures_does_not_matter(textures: dict[str, np.ndarray]) -> None:
    turned = dict(reversed(list(textures.items())))
    one = render_pair(textures, keyed_generator(2, "pair", "x", 1), 48)
    two = render_pair(turned, keyed_generator(2, "pair", "x", 1), 48)
    assert np.array_equal(one.first.image, two.first.image)


def test_objects_fill_the_frame_and_views_overlap(textures: dict[str, np.ndarray]) -> None:
    areas, shares, kinds = [], [], set()
    for index in range(40):
        pair = render_pair(textures, keyed_generator(0, "pair", "fill", index), 64)
        kinds.add(pair.shape)
        for view in (pair.first, pair.second):
            assert view.image.shape == (64, 64, 3)
            assert view.image.dtype == np.uint8
            # Wholly visible: nothing of the object on the outermost pixels, bar rounding.
            assert view.mask[[0, -1]].sum() + view.mask[:, [0, -1]].sum() <= 4
            areas.append(view.mask.mean())
            matched = np.isfinite(view.correspondence[..., 0])
            assert not (matched & ~view.mask).any()
            shares.append(matched.sum() / view.mask.sum())
    assert kinds == {"box", "cylinder", "card", "sheet"}
    assert 0.4 < np.median(areas) < 0.8
    assert min(shares) > 0.3
    assert np.median(shares) > 0.8


def test_views_differ_in_light_only_where_asked(textures: dict[str, np.ndarray]) -> None:
    dark = draw_light(np.random.default_rng(0), 0.0)
    assert dark.ambient == 1.0
    assert dark.shine == 0.0
    np.testing.assert_array_equal(dark.colour, np.ones(3))
    lights = [draw_light(np.random.default_rng(seed), 1.0) for seed in range(20)]
    assert np.std([light.ambient for light in lights]) > 0.03


def test_compose_keeps_object_and_background_apart() -> None:
    background = np.full((16, 16, 3), 40.0, np.float32)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    image = np.where(mask[..., None], 200.0, np.zeros(3)).astype(np.float32)
    drawn = compose(image, mask, background, 2)
    assert (drawn[4:12, 4:12] == 200).all()
    outside = np.ones((16, 16), bool)
    outside[4:12, 4:12] = False
    # The shadow may only darken.
    assert (drawn[outside] <= 40).all()
    assert (drawn[outside] > 15).all()


def test_backgrounds_with_and_without_a_photo() -> None:
    photo = np.full((50, 70, 3), 90, np.uint8)
    for source in (photo, None):
        background = draw_background(source, np.random.default_rng(1), 33)
        assert background.shape == (33, 33, 3)
        assert 0 <= background.min() <= background.max() <= 255


def test_small_pairs_are_fast(textures: dict[str, np.ndarray]) -> None:
    start = time.process_time()
    for index in range(5):
        render_pair(textures, keyed_generator(0, "pair", "time", index), 128)
    # Measured 0.1 s a pair; the bound only catches a change of order.
    assert (time.process_time() - start) / 5 < 1.0


@pytest.mark.parametrize(
    "values",
    [
        {"shapes": ()},
        {"shapes": ("torus",)},
        {"rotation_degrees": (40.0, 10.0)},
        {"fill": (0.0, 0.5)},
        {"fill": (0.5, 1.5)},
        {"light": 2.0},
        {"supersampling": 0},
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        PairSettings(**values)  # type: ignore[arg-type]


def test_no_texture_and_tiny_size_are_refused(textures: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="textures"):
        render_pair({}, np.random.default_rng(0), 64)
    with pytest.raises(InputError, match="8 pixels"):
        render_pair(textures, np.random.default_rng(0), 8)
