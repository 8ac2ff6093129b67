"""Panels: the first as they come, the worst by what they gained."""

from typing import Any

import numpy as np
import pytest

from rba.evaluation import gallery
from rba.evaluation.report import Report


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What panels are asked for: (cases, results, captions)."""
    asked: list[Any] = []

    def note(*arguments: Any) -> np.ndarray:
        asked.append(arguments)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(gallery, "panel", note)
    return asked


def test_the_first_cases_are_not_selected(report: Report, drawn: list[Any]) -> None:
    gallery.first_cases(report, 2)
    cases, results, captions = drawn[0]
    assert [case.id for case in cases] == [case.id for case in report.cases[:2]]
    assert results[1] is report.results[1]
    right = report.table[1].refinement["right_reference"]["psnr_in_hole"]
    assert captions[1].startswith(report.cases[1].id)
    assert f"right {right:.1f}" in captions[1]


def test_the_worst_come_first_and_say_by_what(report: Report, drawn: list[Any]) -> None:
    gallery.worst_cases(report, 2)
    cases, _, captions = drawn[0]
    gains = {case.id: gallery.psnr_gain(case) for case in report.table[:3]}
    assert [case.id for case in cases] == sorted(gains, key=lambda name: gains[name])[:2]
    assert captions[0].startswith("worst 1 of 3 by PSNR gain over the defect")
    assert f"{min(gains.values()):+.1f} dB" in captions[0]


def test_more_than_there_are_is_all(report: Report) -> None:
    assert gallery.first_cases(report, 12).shape == gallery.worst_cases(report, 6).shape
