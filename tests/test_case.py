"""A case holds together, or says what does not."""

from typing import Any

import numpy as np
import pytest

from rba.case import Case
from rba.errors import InputError


def parts(**changes: Any) -> dict[str, Any]:
    mask = np.zeros((20, 30), bool)
    mask[4:8, 10:15] = True
    return {
        "id": "mug",
        "image": np.zeros((20, 30, 3), np.uint8),
        "artifact_mask": mask,
        "references": (np.zeros((12, 16, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)),
        "reference_masks": (np.ones((12, 16), bool), None),
        "truth": np.zeros((20, 30, 3), np.uint8),
        "correspondence_mask": np.zeros((12, 16), np.float32),
    } | changes


def test_a_whole_case_keeps_its_parts() -> None:
    given = parts()
    case = Case(**given, task="composition", generator="AnyDoor", metadata={"seed": 1})
    assert all(getattr(case, name) is value for name, value in given.items())
    assert (case.task, case.generator, case.metadata["seed"]) == ("composition", "AnyDoor", 1)


def test_truth_correspondence_and_facts_may_be_unknown() -> None:
    case = Case(**parts(truth=None, correspondence_mask=None))
    assert (case.task, case.generator, dict(case.metadata)) == ("unknown", "unknown", {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"artifact_mask": np.ones((30, 20), bool)}, "mask is 20x30 pixels, the image 30x20"),
        ({"artifact_mask": np.zeros((20, 30), bool)}, "artifact mask is empty"),
        ({"references": (), "reference_masks": ()}, "0 references"),
        ({"reference_masks": (None,)}, "2 references with 1 reference masks"),
        (
            {"reference_masks": (np.ones((16, 12), bool), None)},
            "reference of 16x12 pixels has an object mask of 12x16",
        ),
        (
            {"reference_masks": (None, np.ones((12, 16), bool))},
            "reference of 9x9 pixels has an object mask of 16x12",
        ),
        ({"truth": np.zeros((30, 20, 3), np.uint8)}, "truth is 20x30, not 30x20"),
        (
            {"correspondence_mask": np.zeros((9, 9), np.float32)},
            "correspondence mask is 9x9 pixels, the reference 16x12",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"case mug: .*{message}"):
        Case(**parts(**changes))


def test_a_case_and_its_facts_cannot_be_changed() -> None:
    case = Case(**parts())
    with pytest.raises(AttributeError):
        case.task = "other"  # pyright: ignore
    with pytest.raises(TypeError):
        case.metadata["seed"] = 1  # pyright: ignore
