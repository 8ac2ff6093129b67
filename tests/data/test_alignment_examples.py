import dataclasses

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from rba.batch import PLACES, Batch, Mode
from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.sample import AlignmentRecord
from rba.data.transforms import ColorSettings
from rba.data.warp import WarpSettings
from rba.errors import InputError

WARP = WarpSettings(rotation=25, scale=(0.8, 1.2), perspective=0.08, translation=0.05)
SETTINGS = AlignmentSettings(warp=WARP, reference_scale=(1.3, 1.6))


def planted(height=200, width=260, mask=None):
    """A grey photo on which the mask source's choice can be found again by colour."""
    return AlignmentRecord(
        key="p", image=np.full((height, width, 3), 90, np.uint8), mask=mask, metadata={}
    )


def paint_hole(example_of, record, draw):
    """Make the example twice: the second time the photo is bright exactly under the hole.

    The place of the hole does not depend on the pixels, so where the second reference differs from
    the first is where the hole's content lies, found without the code under test.
    """
    first = example_of(record, draw, "s")
    size = first.artifact_mask.shape[0]
    coordinates = np.mgrid[0 : record.image.shape[0], 0 : record.image.shape[1]]
    # Read the crop off two ramp photos (x and y as brightness) instead of from the settings.
    ramps = []
    for axis, extent in ((1, record.image.shape[1]), (0, record.image.shape[0])):
        ramp = np.repeat((coordinates[axis] * (250.0 / extent))[..., None], 3, axis=2)
        image = dataclasses.replace(record, image=ramp.astype(np.uint8))
        target = example_of(image, draw, "s").image[..., 0].astype(float) * extent / 250.0
        ramps.append(np.polyfit(np.arange(size) + 0.5, target.mean(axis=1 - axis), 1))
    (dx, x0), (dy, y0) = ramps
    rows, columns = np.nonzero(first.artifact_mask)
    painted = record.image.copy()
    left, right = x0 + columns.min() * dx, x0 + (columns.max() + 1) * dx
    top, bottom = y0 + rows.min() * dy, y0 + (rows.max() + 1) * dy
    painted[round(top) : round(bottom), round(left) : round(right)] = 255
    second = example_of(dataclasses.replace(record, image=painted), draw, "s")
    return first, second


@pytest.mark.parametrize("draw", range(8))
def test_the_content_of_the_hole_lies_at_the_correspondence(make, recipe, draw):
    example_of = AlignmentExamples(SETTINGS, recipe)
    first, second = paint_hole(example_of, planted(600, 780), draw)
    changed = (second.reference[..., 0].astype(float) - first.reference[..., 0]) / (255 - 90)
    soft = first.correspondence_mask
    overlap = np.minimum(changed, soft).sum() / np.maximum(changed, soft).sum()
    assert overlap > 0.8  # the hole is painted at whole pixels of the photo
    np.testing.assert_array_equal(first.artifact_mask, second.artifact_mask)


@pytest.mark.parametrize("draw", range(8))
def test_the_places_of_the_hole_are_those_of_its_content(make, recipe, draw):
    example = AlignmentExamples(SETTINGS, recipe)(planted(600, 780), draw, "s")
    size, side = example.image.shape[0], example.reference.shape[0]
    share = np.array([np.argwhere(example.artifact_mask).mean(axis=0)[::-1] + 0.5]) / size
    node = share[0] * PLACES - 0.5
    x, y = (map_coordinates(example.places[..., k], node[::-1, None], order=1)[0] for k in (0, 1))
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    weight = example.correspondence_mask / example.correspondence_mask.sum()
    found = np.array([(columns * weight).sum(), (rows * weight).sum()])
    assert np.linalg.norm(found - (x, y)) < 0.03 * side


def test_examples_keep_the_contract(make, recipe):
    example_of = AlignmentExamples(SETTINGS, recipe)
    examples = [example_of(make.alignment_record(0), draw, "d/s/k") for draw in range(4)]
    batch = Batch.collate(Mode.ALIGNMENT, examples)
    assert batch.image.shape == (4, 3, 64, 64)
    assert batch.reference.shape == (4, 3, 64, 64)
    assert batch.reference_mask.all()  # no object mask: all true = unknown
    assert batch.draws.tolist() == [0, 1, 2, 3]
    assert len({example.image.tobytes() for example in examples}) == 4


def test_a_pure_function_of_record_and_draw(make, recipe):
    one, two = AlignmentExamples(SETTINGS, recipe), AlignmentExamples(SETTINGS, recipe)
    record = make.alignment_record(1)
    two(record, 99, "s")
    for field in ("image", "artifact_mask", "reference", "correspondence_mask"):
        a, b = getattr(one(record, 5, "s"), field), getattr(two(record, 5, "s"), field)
        np.testing.assert_array_equal(a, b)


def object_mask(height=200, width=260):
    mask = np.zeros((height, width), bool)
    mask[60:140, 100:200] = True
    return mask


def test_a_masked_object_is_complete_on_black(make, recipe):
    settings = dataclasses.replace(SETTINGS, warp=WarpSettings(), crop_scale=(0.3, 0.4))
    record = planted(mask=object_mask())
    record = dataclasses.replace(record, image=make.picture(200, 260))
    for draw in range(6):
        example = AlignmentExamples(settings, recipe)(record, draw, "s")
        # 100 x 80 pixels with a margin of 0.1 on each side of the longer one: 120 pixels square.
        expected = 64 * 64 * (100 * 80) / 120**2
        assert example.reference_mask.sum() == pytest.approx(expected, rel=0.05)
        assert (example.reference[~example.reference_mask] == 0).all()
        assert example.correspondence_known
        outside = example.correspondence_mask[~example.reference_mask]
        assert outside.max() < 0.6
        assert example.artifact_mask.any()


def test_a_hole_off_the_object_has_no_known_match(make, recipe):
    def beside(rng, height, width, inside):
        assert inside is not None
        mask = np.zeros((height, width), bool)
        mask.flat[np.flatnonzero(~inside)[0]] = True
        return mask

    example_of = AlignmentExamples(
        AlignmentSettings(crop_scale=(0.8, 0.8)), dataclasses.replace(recipe, masks=beside)
    )
    example = example_of(planted(mask=object_mask()), 0, "s")
    assert not example.correspondence_known
    assert example.correspondence_mask.sum() == 0


def test_content_outside_the_frame_is_not_known(make, recipe):
    settings = AlignmentSettings(reference_scale=(1, 1), warp=WarpSettings(scale=(4.0, 4.0)))

    def corner(rng, height, width, inside):
        return np.indices((height, width)).sum(axis=0) < 6

    example_of = AlignmentExamples(settings, dataclasses.replace(recipe, masks=corner))
    assert not example_of(planted(), 0, "s").correspondence_known


def test_the_whole_photo_as_reference(make, recipe):
    settings = AlignmentSettings(reference_scale=None)
    example = AlignmentExamples(settings, recipe)(planted(100, 200), 0, "s")
    rows = (example.reference[..., 0] > 45).all(axis=1)
    assert rows.sum() == 32  # 100 of 200 rows of the square are photo, the rest black
    assert rows[16:48].all()


@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.5, 2.5)])
@pytest.mark.parametrize("size", [(64, 200), (200, 64), (90, 90)])
def test_any_photo_shape_and_frame(make, recipe, size, scale):
    settings = AlignmentSettings(crop_scale=(0.2, 1.0), reference_scale=scale)
    record = AlignmentRecord(key="a", image=make.picture(*size), mask=None, metadata={})
    for draw in range(10):
        example = AlignmentExamples(settings, recipe)(record, draw, "s")
        assert example.correspondence_known
        assert (example.correspondence_mask >= 0.5).any()


def test_target_and_reference_change_colour_independently(make, recipe):
    strong = ColorSettings(brightness=0.5)
    settings = AlignmentSettings(
        crop_scale=(1, 1), reference_scale=(1, 1), target_color=strong, reference_color=strong
    )
    example_of = AlignmentExamples(settings, recipe)
    examples = [example_of(planted(64, 64), draw, "s") for draw in range(12)]
    target = np.array([example.image.mean() for example in examples])
    reference = np.array([example.reference.mean() for example in examples])
    assert target.std() > 5
    assert reference.std() > 5
    assert abs(np.corrcoef(target, reference)[0, 1]) < 0.8


@pytest.mark.parametrize(
    "bad", [{"crop_scale": (0.5, 1.5)}, {"reference_scale": (0.5, 1.0)}, {"object_margin": -1},
            {"min_visible": 0.0}],
)  # fmt: skip
def test_bad_settings(bad):
    with pytest.raises(InputError, match=rf"alignment\.{next(iter(bad))}"):
        AlignmentSettings(**bad)
