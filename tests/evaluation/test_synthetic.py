"""Synthetic cases: exact truth, equal for equal settings, mistakes named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.evaluation.synthetic import (
    SyntheticSettings,
    exact_correspondence_mask,
    synthetic_cases,
)

SHIFT = (16, 8)


def moved(mask: np.ndarray, dx: int, dy: int) -> np.ndarray:
    result = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    rows, columns = rows + dy, columns + dx
    inside = (rows >= 0) & (rows < len(mask)) & (columns >= 0) & (columns < mask.shape[1])
    result[rows[inside], columns[inside]] = True
    return result


def test_truth_is_the_mask_moved_with_the_object(objects: Path) -> None:
    cases = list(synthetic_cases(objects, 6, SyntheticSettings()))
    assert [case.metadata["object"] for case in cases[:3]] == [
        case.metadata["object"] for case in cases[3:]
    ]
    for index, case in enumerate(cases):
        dx, dy = SHIFT if index < 3 else (-SHIFT[0], -SHIFT[1])
        assert np.array_equal(case.correspondence_mask == 1.0, moved(case.artifact_mask, dx, dy))
        assert case.truth is not None
        outside = ~case.artifact_mask
        assert np.array_equal(case.image[outside], case.truth[outside])
        assert (case.image != case.truth)[case.artifact_mask].any()
        assert case.reference_masks[0] is not None


def test_the_content_of_the_reference_is_the_truth(objects: Path) -> None:
    for case in synthetic_cases(objects, 3, SyntheticSettings()):
        assert case.truth is not None
        rows, columns = np.nonzero(case.artifact_mask)
        there = case.references[0][rows + SHIFT[1], columns + SHIFT[0]]
        assert np.array_equal(case.truth[rows, columns], there)


def test_equal_settings_give_equal_cases_and_other_seeds_others(objects: Path) -> None:
    first, again = (list(synthetic_cases(objects, 2, SyntheticSettings())) for _ in range(2))
    other = list(synthetic_cases(objects, 2, SyntheticSettings(seed=1)))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
    assert any(
        not np.array_equal(one.artifact_mask, two.artifact_mask)
        for one, two in zip(first, other, strict=True)
    )


def test_points_without_match_are_left_out() -> None:
    mask = np.ones((4, 4), bool)
    backward = np.full((4, 4, 2), 1.5, np.float32)
    backward[0] = np.nan
    backward[1] = 4.0  # on the very edge
    truth = exact_correspondence_mask(mask, backward)
    assert not truth[0].any()
    assert truth[1:].all()


def test_look_alikes_are_told_where_the_object_tells(objects: Path, tmp_path: Path) -> None:
    shutil.copytree(objects, tmp_path / "set")
    contents = {0: '{"look_alikes": true}', 1: '{"look_alikes": "many"}'}
    for index, content in contents.items():
        (tmp_path / "set" / f"object-{index:03d}" / "object.json").write_text(content)
    cases = list(synthetic_cases(tmp_path / "set", 3, SyntheticSettings()))
    assert [case.metadata.get("look_alikes") for case in cases] == [True, None, None]
    (tmp_path / "set" / "object-000" / "object.json").write_text("{")
    with pytest.raises(InputError, match=r"object\.json is not readable JSON"):
        next(synthetic_cases(tmp_path / "set", 1, SyntheticSettings()))


def test_mistakes_are_named(objects: Path, tmp_path: Path) -> None:
    settings = SyntheticSettings()
    with pytest.raises(InputError, match="is not a folder"):
        next(synthetic_cases(tmp_path / "missing", 1, settings))
    with pytest.raises(InputError, match="holds no object folder"):
        next(synthetic_cases(tmp_path, 1, settings))
    shutil.copytree(objects / "object-000", tmp_path / "set" / "a")
    with pytest.raises(InputError, match="none of 20 masks"):
        next(synthetic_cases(tmp_path / "set", 1, SyntheticSettings(smallest_truth=0.99)))
    (tmp_path / "set" / "a" / "01-00.correspondence.png").unlink()
    with pytest.raises(InputError, match="no exact correspondence"):
        next(synthetic_cases(tmp_path / "set", 1, settings))
