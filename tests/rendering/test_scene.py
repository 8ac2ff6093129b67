"""Scenes: what a map says is seen at the other place, for solids and for cloth."""

import dataclasses

import cv2
import numpy as np
import pytest

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering.backdrop import BACKDROPS, draw_backdrop
from rba.rendering.drape import make_drape
from rba.rendering.scene import render_scene
from rba.rendering.scene_settings import Look, SceneSettings
from rba.rendering.textures import load_textures

EVEN = Look(light=0.0)
TEXTURES = load_textures(None, "heldout")


def scene(shape: str, index: int = 0, **changed: object):
    settings = SceneSettings(shapes=(shape,), image=EVEN, reference=EVEN)
    settings = dataclasses.replace(settings, **changed)
    return render_scene(TEXTURES, keyed_generator(0, "scene", "test", index), 96, settings)


@pytest.mark.parametrize("shape", ["box", "cloth", "garment"])
def test_matched_pixels_look_alike_without_light(shape: str) -> None:
    pair = scene(shape, 1)
    for view, other in ((pair.first, pair.second), (pair.second, pair.first)):
        map_ = view.correspondence
        known = cv2.erode(np.isfinite(map_[..., 0]).astype(np.uint8), np.ones((5, 5))) > 0
        assert known.sum() > 400
        x, y = (np.nan_to_num(map_[..., axis]) - 0.5 for axis in (0, 1))
        seen = cv2.remap(other.image, x, y, cv2.INTER_LINEAR)
        # Blurred: the two views sample a print at different scales.
        smooth = [cv2.GaussianBlur(image, (0, 0), 1.5).astype(int) for image in (view.image, seen)]
        right = np.abs(smooth[0] - smooth[1])[known].mean()
        wrong = np.abs(smooth[0] - np.roll(smooth[1], 6, axis=1))[known].mean()
        assert right < 14
        assert wrong > 2 * right


def test_both_shapes_of_cloth_have_one_print() -> None:
    drape = make_drape("garment", np.random.default_rng(0))
    np.testing.assert_array_equal(drape.worn.uvs, drape.flat.uvs)
    np.testing.assert_array_equal(drape.worn.triangles, drape.flat.triangles)
    assert np.ptp(drape.flat.vertices[:, 2]) < 1e-9
    assert np.ptp(drape.worn.vertices[:, 2]) > 0.1
    with pytest.raises(ValueError, match="unknown cloth 'sock'"):
        make_drape("sock", np.random.default_rng(0))


def test_the_angle_is_that_of_the_cameras() -> None:
    pair = scene("box", rotation_degrees=(50.0, 50.0), roll_degrees=0.0)
    assert pair.rotation_degrees == pytest.approx(50.0, abs=0.01)


def test_another_print_is_mixed_into_the_image_only() -> None:
    plain, mixed = scene("card"), scene("card", texture_difference=0.6)
    np.testing.assert_array_equal(plain.second.image, mixed.second.image)
    np.testing.assert_array_equal(plain.first.correspondence, mixed.first.correspondence)
    inside = plain.first.mask
    assert np.abs(plain.first.image.astype(int) - mixed.first.image)[inside].mean() > 15


def test_other_objects_stand_behind() -> None:
    alone, crowd = (
        scene("box", image=Look(backdrop="table", fill=(0.4, 0.5), others=(n, n))) for n in (0, 2)
    )
    changed = (alone.first.image != crowd.first.image).any(axis=-1)
    assert changed[~alone.first.mask].any()
    core = cv2.erode(alone.first.mask.astype(np.uint8), np.ones((3, 3))) > 0
    assert not changed[core].any()


@pytest.mark.parametrize("kind", BACKDROPS)
def test_backdrops(kind: str) -> None:
    drawn = draw_backdrop(kind, [TEXTURES["coffee"]], np.random.default_rng(0), 48)
    assert drawn.shape == (48, 48, 3)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() <= drawn.max() <= 255
    assert drawn.std() > 1


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown backdrop"):
        draw_backdrop("sea", [TEXTURES["coffee"]], np.random.default_rng(0), 48)
    for bad in ({"fill": (0.0, 0.5)}, {"backdrop": "sea"}, {"tint": 1.0}, {"others": (2, 1)}):
        with pytest.raises(InputError, match=next(iter(bad))):
            Look(**bad)
    for bad in (
        {"shapes": ("box", "cloth")},
        {"rotation_degrees": (0.0, 91.0)},
        {"supersampling": 0},
        {"texture_difference": 1.5},
        {"shapes": ("cloth",), "image": Look(others=(1, 1))},
    ):
        with pytest.raises(InputError):
            SceneSettings(**bad)
    with pytest.raises(InputError, match="0 textures"):
        render_scene({}, np.random.default_rng(0), 64, SceneSettings())
