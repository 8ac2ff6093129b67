"""Baselines on cases whose answer is known."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from rba.case import Case
from rba.evaluation.baselines.cross_correlation import cross_correlation
from rba.evaluation.baselines.prediction import Prediction
from rba.evaluation.baselines.same_position import same_position
from rba.evaluation.baselines.uniform import uniform
from rba.geometry import Box
from rba.inference.frames import reference_frame
from rba.metrics.region import hit, iou


def predict(baseline: Callable[..., Prediction], case: Case, size: int, cells: int) -> Prediction:
    """On the complete reference as the network sees it."""
    frame = reference_frame(case.references[0], case.reference_masks[0], size, object_margin=0.1)
    return baseline(case, frame, cells)


def texture(seed: int, side: int = 220) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (18, 18, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def make_case(dx: int = 40, dy: int = 20, object_mask: np.ndarray | None = None) -> Case:
    """The reference shows the image's content moved by (dx, dy)."""
    wide = texture(3)
    image = wide[dy : dy + 160, dx : dx + 160].copy()
    mask = np.zeros((160, 160), bool)
    mask[60:76, 50:70] = True
    image[mask] = 0
    truth = np.zeros((160, 160), np.float32)
    truth[60 + dy : 76 + dy, 50 + dx : 70 + dx] = 1.0
    return Case(
        id="case",
        image=image,
        artifact_mask=mask,
        references=(wide[:160, :160],),
        reference_masks=(object_mask,),
        correspondence_mask=truth,
    )


def truth_of(case: Case) -> np.ndarray:
    assert case.correspondence_mask is not None
    return case.correspondence_mask >= 0.5


def test_cross_correlation_finds_the_surroundings() -> None:
    case = make_case()
    found = predict(cross_correlation, case, 160, 16)
    assert not found.fallback
    assert iou(found.mask, truth_of(case)) > 0.9
    assert hit(found.correspondence_map, truth_of(case)) == 1.0


def test_cross_correlation_never_looks_into_the_hole() -> None:
    case = make_case()
    image = case.image.copy()
    image[case.artifact_mask] = (255, 0, 255)
    other = dataclasses.replace(case, image=image)
    first, second = (predict(cross_correlation, item, 64, 16) for item in (case, other))
    assert np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize("angle", [15.0, -30.0])
def test_cross_correlation_tries_angles(angle: float) -> None:
    case = make_case(0, 0)
    matrix = cv2.getRotationMatrix2D((79.5, 79.5), angle, 1.0)
    turned = cv2.warpAffine(texture(3)[:160, :160], matrix, (160, 160))
    soft = cv2.warpAffine(case.correspondence_mask, matrix, (160, 160))  # type: ignore[arg-type]
    case = dataclasses.replace(case, references=(turned,), correspondence_mask=soft)
    assert iou(predict(cross_correlation, case, 160, 16).mask, truth_of(case)) > 0.7


def test_cross_correlation_without_surroundings_falls_back_to_the_object() -> None:
    case = make_case()
    case = dataclasses.replace(case, artifact_mask=np.ones((160, 160), bool))
    found = predict(cross_correlation, case, 64, 16)
    assert found.fallback
    assert found.mask.all()


def test_uniform_is_the_whole_object_and_hits_by_chance() -> None:
    known = np.zeros((160, 160), bool)
    known[40:120, 40:120] = True
    case = make_case(object_mask=known)
    found = predict(uniform, case, 96, 12)  # the frame is 32:128, a cell 8 pixels
    assert np.array_equal(found.mask, known[32:128, 32:128])
    assert found.correspondence_map.sum() == pytest.approx(1.0)
    quarter = np.zeros((96, 96), bool)
    quarter[8:48, 8:48] = True
    assert hit(found.correspondence_map, quarter) == 0.25


def test_same_position_copies_the_mask() -> None:
    case = make_case()
    assert np.array_equal(predict(same_position, case, 160, 16).mask, case.artifact_mask)
    unmoved = make_case(0, 0)
    assert iou(predict(same_position, unmoved, 160, 16).mask, truth_of(unmoved)) == 1.0


def test_same_position_stretches_to_the_references_frame() -> None:
    case = make_case()
    tall = np.zeros((320, 160, 3), np.uint8)
    case = dataclasses.replace(
        case, references=(tall,), correspondence_mask=None, reference_masks=(None,)
    )
    rows, columns = np.nonzero(predict(same_position, case, 320, 16).mask)
    assert (rows.min(), rows.max() + 1) == (120, 152)
    assert (columns.min(), columns.max() + 1) == (80 + 50, 80 + 70)


def test_predictions_lie_where_the_objects_frame_shows_them() -> None:
    known = np.zeros((160, 160), bool)
    known[60:140, 70:150] = True
    case = make_case(object_mask=known)
    frame = reference_frame(case.references[0], known, 96, object_margin=0.1)
    assert frame.box == Box(62, 52, 158, 148)
    copied = predict(same_position, case, 96, 12)
    assert np.array_equal(copied.mask, case.artifact_mask[52:148, 62:158])
    assert not copied.fallback
    found = predict(cross_correlation, case, 96, 12)
    assert iou(found.mask, truth_of(case)[52:148, 62:158]) > 0.9


def test_a_position_outside_the_objects_frame_is_a_fallback() -> None:
    known = np.zeros((160, 160), bool)
    known[120:, 120:] = True
    found = predict(same_position, make_case(object_mask=known), 96, 12)
    assert found.fallback
    assert found.mask.mean() > 0.5


def test_a_single_pixel_survives_in_every_baseline() -> None:
    case = make_case()
    mask = np.zeros((160, 160), bool)
    mask[0, 159] = True
    case = dataclasses.replace(case, artifact_mask=mask)
    for baseline in (uniform, same_position, cross_correlation):
        found = predict(baseline, case, 32, 8)
        assert found.mask.any()
        assert found.correspondence_map.sum() > 0
        assert found.correspondence_map.shape == (8, 8)
