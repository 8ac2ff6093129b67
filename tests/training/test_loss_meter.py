"""Means by mode and timestep range."""

import pytest
import torch

from rba.batch import Mode
from rba.training.loss_meter import LossMeter


def test_means_by_mode_and_range_against_plain_python() -> None:
    meter = LossMeter(1000)
    timesteps = torch.tensor([0, 249, 250, 999])
    losses = torch.tensor([1.0, 3.0, 10.0, 20.0])
    meter.add(Mode.ALIGNMENT, losses, losses * 2, timesteps, torch.ones(4))
    meter.add(Mode.REFINEMENT, losses + 1, losses, timesteps, torch.tensor([1.0, 0, 0, 0]))
    taken = meter.take()
    assert taken["loss_alignment"] == pytest.approx(8.5)
    assert taken["loss_in_hole_alignment"] == pytest.approx(17.0)
    assert taken["loss_alignment_t000-249"] == pytest.approx(2.0)
    assert taken["loss_alignment_t250-499"] == pytest.approx(10.0)
    assert "loss_alignment_t500-749" not in taken
    assert taken["loss_alignment_t750-999"] == pytest.approx(20.0)
    assert taken["loss_refinement"] == pytest.approx(2.0)  # the others are padding


def test_taking_resets() -> None:
    meter = LossMeter(100)
    meter.add(Mode.ALIGNMENT, torch.ones(2), torch.ones(2), torch.tensor([1, 2]), torch.ones(2))
    assert meter.take()
    assert meter.take() == {}
