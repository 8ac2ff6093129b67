"""Validation counts each sample once and leaves padding and unknown matches out of mIoU."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from rba.batch import Batch
from rba.training.validation import ValidationMeter, ValidationMeters


def with_truth(batch: Batch) -> Batch:
    """The truth is cells (1, 1) and (1, 2) of 4 x 4; a lone cell would count as a spike."""
    truth = torch.zeros_like(batch.correspondence_mask)
    truth[:, :, 8:16, 8:24] = 1.0
    return dataclasses.replace(batch, correspondence_mask=truth)


def peaked_maps(batch: Batch, row: int) -> torch.Tensor:
    maps = torch.zeros(len(batch), 2, 4, 4)
    maps[:, :, row, 1:3] = 1.0
    return maps


def test_the_true_cells_score_one_and_others_zero(make_batch: Callable[..., Batch]) -> None:
    batch = with_truth(make_batch())
    for row, expected in ((1, 1.0), (2, 0.0)):
        meter = ValidationMeter(2)
        meter.add(batch, peaked_maps(batch, row), torch.full((4,), 3.0))
        measured = meter.take(torch.device("cpu"))
        assert measured is not None
        assert measured[0].tolist() == [expected, expected]
        assert measured[1:] == (3.0, 0.0)


def test_padding_and_unknown_matches_are_left_out_and_counted(
    make_batch: Callable[..., Batch],
) -> None:
    batch = dataclasses.replace(
        with_truth(make_batch()),
        weight=torch.tensor([1.0, 1.0, 1.0, 0.0]),
        correspondence_known=torch.tensor([True, True, False, True]),
    )
    maps = peaked_maps(batch, 1)
    maps[1] = peaked_maps(batch, 2)[1]
    meter = ValidationMeter(2)
    meter.add(batch, maps, torch.tensor([1.0, 2.0, 6.0, 100.0]))
    measured = meter.take(torch.device("cpu"))
    assert measured is not None
    assert measured[0].tolist() == [0.5, 0.5]
    assert measured[1] == pytest.approx(3.0)
    assert measured[2] == 1.0
    assert meter.take(torch.device("cpu")) is None


def test_sets_of_a_mode_are_measured_one_by_one_and_together(
    make_batch: Callable[..., Batch],
) -> None:
    meters = ValidationMeters()
    for name, size, loss in (("a", 3, 1.0), ("b", 1, 5.0)):
        batch = dataclasses.replace(
            with_truth(make_batch(size=size)), sample_ids=(f"{name}/0/0",) * size
        )
        meters.of(batch, 2).add(batch, peaked_maps(batch, 1), torch.full((size,), loss))
    losses = {name: values[1] for name, values in meters.take(torch.device("cpu")).items()}
    assert losses == {"alignment": 2.0, "alignment_a": 1.0, "alignment_b": 5.0}
    assert meters.take(torch.device("cpu")) == {}


def test_the_only_set_of_a_mode_goes_by_its_mode(make_batch: Callable[..., Batch]) -> None:
    meters, batch = ValidationMeters(), with_truth(make_batch())
    meters.of(batch, 2).add(batch, peaked_maps(batch, 1), torch.ones(4))
    assert list(meters.take(torch.device("cpu"))) == ["alignment"]
