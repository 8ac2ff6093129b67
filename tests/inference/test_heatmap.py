"""The chosen cell is framed, and brighter cells have larger figures."""

import numpy as np

from rba.inference.gamma import Calibration
from rba.inference.heatmap import heatmap

FRAME = np.array([0xE4, 0x57, 0x2E])


def picture(step: int, layer: int, num_steps: int = 4) -> np.ndarray:
    scores = np.zeros((1, 2, num_steps, 16))
    scores[0, 0, step, layer] = 0.5
    steps = tuple(range(0, 5 * num_steps, 5))
    return heatmap(Calibration(scores=scores, steps=steps, num_inference_steps=50))


def frame_middle(shown: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(np.abs(shown.astype(int) - FRAME).max(axis=2) < 8)
    return float(rows.mean()), float(columns.mean())


def test_the_frame_lies_on_the_chosen_cell() -> None:
    shown = picture(3, 9)
    assert shown.dtype == np.uint8
    assert shown.shape[2] == 3
    row, column = (round(value) for value in frame_middle(shown))
    inside, beside = shown[row, column].astype(int), shown[row - 60, column].astype(int)
    assert inside.sum() > beside.sum() + 200  # the only cell above zero


def test_layers_go_down_and_steps_to_the_right() -> None:
    first, lower, later = (frame_middle(picture(*cell)) for cell in ((0, 2), (0, 12), (3, 2)))
    assert lower[0] > first[0] + 50
    assert abs(lower[1] - first[1]) < 2
    assert later[1] > first[1] + 50
    assert abs(later[0] - first[0]) < 2


def test_one_step_and_fifty_steps_have_pictures() -> None:
    assert picture(0, 0, num_steps=1).shape == picture(49, 15, num_steps=50).shape
