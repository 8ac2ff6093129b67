import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from rba.batch import PLACES, Batch, Mode
from rba.data.recipe import Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.sample import RefinementRecord, match_grid_shape
from rba.data.transforms import ColorSettings
from rba.data.warp import WarpSettings
from rba.errors import InputError
from rba.geometry import mask_box, project

WARP = WarpSettings(rotation=15, scale=(0.9, 1.1), perspective=0.05)
SETTINGS = RefinementSettings(warp=WARP)
HOMOGRAPHY = np.array([[0.9, 0.25, 10.0], [-0.2, 1.05, 25.0], [3e-4, -2e-4, 1.0]])


@pytest.fixture
def recipe(make):
    return Recipe(
        image_size=96, reference_size=96, masks=make.blob_mask, seed=3, namespace="refinement"
    )


def pair_by(homography, make, height=192, width=192):
    """A pair whose view B is view A through a homography; B's valid part is its object."""
    target = make.picture(height, width)
    # Pixel centres lie at 0.5 here, at 0 for OpenCV.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    matrix = np.linalg.inv(shift) @ homography @ shift
    reference = cv2.warpPerspective(target, matrix, (240, 224))
    rows, columns = match_grid_shape(height, width)
    y, x = np.mgrid[0:rows, 0:columns] * 8.0 + 4.5
    fractions = project(np.stack([x, y], axis=2), homography) / (240, 224)
    matches = np.concatenate([fractions, np.ones((rows, columns, 1))], axis=2)
    outside = (fractions < 0).any(axis=2) | (fractions >= 1).any(axis=2)
    matches[outside] = np.nan
    return RefinementRecord(
        key="p", target=target, reference=reference, target_mask=None, reference_mask=None,
        matches=matches.astype(np.float16), metadata={},
    )  # fmt: skip


def appearance_agrees(example):
    """Compare the mean colour under the hole with that under the correspondence mask."""
    hole = example.image[example.artifact_mask].mean(axis=0)
    weights = example.correspondence_mask[..., None]
    return np.abs((example.reference * weights).sum(axis=(0, 1)) / weights.sum() - hole).max()


@pytest.mark.parametrize("complete", [False, True])
def test_the_correspondence_shows_what_the_hole_hides(make, recipe, complete):
    example_of = RefinementExamples(SETTINGS, recipe, complete_reference=complete)
    record = pair_by(HOMOGRAPHY, make)
    examples = [example_of(record, draw, "s") for draw in range(20)]
    known = [example for example in examples if example.correspondence_known]
    assert len(known) >= 15
    assert np.median([appearance_agrees(example) for example in known]) < 6
    # The same measure against another hole of the same picture is far off: it can fail.
    swapped = [
        appearance_agrees(dataclasses.replace(a, correspondence_mask=b.correspondence_mask))
        for a, b in itertools.pairwise(known)
    ]
    assert np.median(swapped) > 12


def test_the_complete_reference_mask_is_the_hole_through_the_homography(make, recipe):
    settings = dataclasses.replace(SETTINGS, crop_scale=(1.0, 1.0), crop_jitter=0.0)
    example_of = RefinementExamples(settings, recipe, complete_reference=True)
    compared = 0
    for draw in range(12):
        example = example_of(pair_by(HOMOGRAPHY, make), draw, "s")
        hole = mask_box(example.artifact_mask)
        if example.artifact_mask.sum() < hole.width * hole.height:
            continue  # cut by the edge of what has matches
        box = [[hole.x0, hole.y0], [hole.x1, hole.y0], [hole.x1, hole.y1], [hole.x0, hole.y1]]
        # The crop is the whole view of 192 pixels; the reference is 240 square, y from -8.
        corners = project(np.array(box) * 2.0, HOMOGRAPHY)
        corners = (corners + np.array([0.0, 8.0])) * (96 / 240)
        exact = cv2.fillConvexPoly(
            np.zeros((960, 960), np.uint8), np.rint(corners * 10).astype(np.int32), 1
        )
        exact = cv2.resize(exact.astype(np.float32), (96, 96), interpolation=cv2.INTER_AREA)
        soft = example.correspondence_mask
        assert np.minimum(soft, exact).sum() / np.maximum(soft, exact).sum() > 0.8
        compared += 1
    assert compared >= 4


def test_training_zooms_into_the_region_and_validation_does_not(make, recipe):
    record = pair_by(HOMOGRAPHY, make)
    shares = {}
    for complete in (False, True):
        example_of = RefinementExamples(SETTINGS, recipe, complete_reference=complete)
        masks = [example_of(record, draw, "s").correspondence_mask for draw in range(12)]
        shares[complete] = np.mean([mask.mean() for mask in masks])
    assert shares[False] > 4 * shares[True]
    assert shares[False] > 0.1


def test_places_show_what_the_target_shows(make, recipe):
    example_of = RefinementExamples(SETTINGS, recipe)
    apart, shuffled = [], []
    for draw in range(8):
        example = example_of(pair_by(HOMOGRAPHY, make), draw, "s")
        side, step = example.reference.shape[0], example.image.shape[0] // PLACES
        inside = (example.places >= 0).all(axis=2) & (example.places < side).all(axis=2)
        x, y = example.places[inside].astype(int).T
        squares = example.image.reshape(PLACES, step, PLACES, step, 3).mean(axis=(1, 3))
        found = cv2.blur(example.reference, (3, 3))[y, x].astype(float)
        apart.append(np.abs(found - squares[inside]).mean())
        shuffled.append(np.abs(found[::-1] - squares[inside]).mean())
    assert np.mean(apart) < 0.5 * np.mean(shuffled)


def test_places_without_a_match_are_unknown(make, recipe):
    record = pair_by(HOMOGRAPHY, make)
    record.matches[:, : record.matches.shape[1] // 2] = np.nan
    settings = dataclasses.replace(SETTINGS, crop_scale=(1.0, 1.0), crop_jitter=0.0)
    example = RefinementExamples(settings, recipe, complete_reference=True)(record, 0, "s")
    known = np.isfinite(example.places).all(axis=2)
    assert not known[:, : PLACES // 2 - 1].any()
    assert known[:, PLACES // 2 + 1 :].any()


def test_holes_lie_where_matches_are(make, recipe):
    record = pair_by(HOMOGRAPHY, make)
    matches = record.matches.copy()
    matches[:, 8:] = np.nan  # only the left third of the target has matches
    record = dataclasses.replace(record, matches=matches)
    settings = dataclasses.replace(SETTINGS, crop_scale=(1.0, 1.0), crop_jitter=0.0)
    for draw in range(10):
        example = RefinementExamples(settings, recipe)(record, draw, "s")
        assert np.nonzero(example.artifact_mask)[1].max() <= 32
        assert example.correspondence_known


def without_matches(record):
    return dataclasses.replace(record, matches=np.full_like(record.matches, np.nan))


@pytest.mark.parametrize("strip", [without_matches, lambda r: dataclasses.replace(r, matches=None)])
def test_a_pair_without_matches_is_not_known_but_whole(make, recipe, strip):
    record = strip(pair_by(HOMOGRAPHY, make))
    for complete in (False, True):
        example = RefinementExamples(SETTINGS, recipe, complete_reference=complete)(record, 0, "s")
        assert not example.correspondence_known
        assert example.correspondence_mask.sum() == 0
        assert example.artifact_mask.any()
        assert example.reference.std() > 10


def test_objects_are_shown_on_black(make, recipe):
    record = pair_by(HOMOGRAPHY, make)
    target_mask = np.zeros(record.target.shape[:2], bool)
    target_mask[40:150, 50:160] = True
    reference_mask = np.zeros(record.reference.shape[:2], bool)
    reference_mask[60:180, 70:190] = True
    record = dataclasses.replace(record, target_mask=target_mask, reference_mask=reference_mask)
    example = RefinementExamples(SETTINGS, recipe, complete_reference=True)(record, 0, "s")
    # 120 pixels square with a margin of 0.1 on each side.
    assert example.reference_mask.sum() == pytest.approx(96 * 96 / 1.2**2, rel=0.03)
    assert example.reference[~example.reference_mask].max() <= 140  # half-covered edge pixels
    assert (example.reference[:6] == 0).all()


def test_examples_keep_the_contract_and_are_pure(make, recipe):
    settings = dataclasses.replace(
        SETTINGS, target_color=ColorSettings(brightness=0.2), reference_color=ColorSettings(hue=0.1)
    )
    record = make.refinement_record(0)
    one, two = RefinementExamples(settings, recipe), RefinementExamples(settings, recipe)
    first = [one(record, draw, "s") for draw in range(4)]
    second = [two(record, draw, "s") for draw in reversed(range(4))][::-1]
    batch, other = (Batch.collate(Mode.REFINEMENT, examples) for examples in (first, second))
    for field in ("image", "artifact_mask", "reference", "correspondence_mask"):
        assert (getattr(batch, field) == getattr(other, field)).all()
    assert len({example.reference.tobytes() for example in first}) == 4


@pytest.mark.parametrize(
    "bad", [{"crop_scale": (2, 1)}, {"region_margin": (-1, 1)}, {"region_jitter": 2.0},
            {"min_matched": 0.0}, {"mask_attempts": 0}],
)  # fmt: skip
def test_bad_settings(bad):
    with pytest.raises(InputError, match=rf"refinement\.{next(iter(bad))}"):
        RefinementSettings(**bad)
