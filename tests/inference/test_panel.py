"""Panels: sizes, what is drawn where, odd inputs."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from rba.inference.align import AlignmentSettings
from rba.inference.panel import case_panel, correspondence_overlay, outlined, panel
from rba.inference.refine import refine
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings

SETTINGS = RefinementSettings(
    sampler=SamplerSettings(num_inference_steps=1),
    alignment=AlignmentSettings(num_inference_steps=1),
)


@pytest.mark.parametrize("size", [(90, 120), (300, 40), (6, 6)])
@pytest.mark.parametrize("no_reference", [False, True])
def test_any_case_has_a_panel(
    network: Any, scheduler: Any, make_case: Any, size: tuple[int, int], no_reference: bool
) -> None:
    case = make_case(*size, box=(1, 1, 5, 5))
    request = RefinementRequest(case=case, no_reference=no_reference)
    result = refine(network, scheduler, request, SETTINGS)
    picture = case_panel(case, result)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    with_truth = dataclasses.replace(case, truth=case.image)
    wider = case_panel(with_truth, result)
    assert wider.shape[0] == picture.shape[0]
    assert wider.shape[1] > picture.shape[1]
    both = panel([case, with_truth], [result, result], ["one", "two"])
    assert both.shape[1] == wider.shape[1]
    assert both.shape[0] > picture.shape[0]


def test_overlay_colours_the_peak_and_leaves_the_rest_clear() -> None:
    reference = np.full((64, 64, 3), 100, np.uint8)
    values = np.zeros((8, 8))
    values[2, 5] = 0.4
    shown = correspondence_overlay(reference, values)
    assert (shown[:16] == 100).all()
    assert (shown[16:24, 40:48] != 100).all()
    assert np.array_equal(correspondence_overlay(reference, None), reference)
    assert np.array_equal(correspondence_overlay(reference, np.ones((8, 8))), reference)


def test_outlines_are_drawn_on_a_copy() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    shown = outlined(image, mask)
    assert (image == 100).all()
    assert (shown[10, 12:28] != 100).all()
    assert (shown[18:22, 18:22] == 100).all()
