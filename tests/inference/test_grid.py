"""The grid against `align` cell by cell; calibration finds a layer that was made to be right."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rba.attention.region import correspondence_mask
from rba.batch import Batch, Example, Mode
from rba.errors import InputError
from rba.geometry import cells_to_pixels
from rba.inference.align import AlignmentSettings, align
from rba.inference.grid import GridSettings, calibrate, correspondence_grid
from rba.inference.noise import KeyedNoise
from rba.metrics.region import iou
from rba.models.network import RefinementNetwork


def make_batch(known: tuple[bool, ...] = (True, True)) -> Batch:
    rng = np.random.default_rng(0)
    truth = np.zeros((32, 32), np.float32)
    truth[4:16, 8:20] = 1.0
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:36] = True
    return Batch.collate(
        Mode.ALIGNMENT,
        [
            Example(
                image=rng.integers(0, 256, (64, 64, 3)).astype(np.uint8),
                artifact_mask=mask,
                reference=rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
                reference_mask=np.ones((32, 32), bool),
                correspondence_mask=truth,
                correspondence_known=value,
                draw=number,
                sample_id=f"a/0/{number}",
            )
            for number, value in enumerate(known)
        ],
    )


SETTINGS = GridSettings(num_inference_steps=4, steps=(2, 0, 2), seed=9)


def test_every_cell_equals_align(network: RefinementNetwork, scheduler: Any) -> None:
    pixels = make_batch().normalized()
    inputs = {
        "image": pixels.image,
        "artifact_mask": pixels.artifact_mask,
        "reference": pixels.reference,
        "noise": KeyedNoise(9, (0, 1)),
    }
    grid = correspondence_grid(network, scheduler, **inputs, settings=SETTINGS)
    assert grid.shape == (2, 2, 16, 8, 8)
    for row, step in enumerate((0, 2)):
        for layer in (0, 6, 9, 15):
            single = align(
                network,
                scheduler,
                **inputs,
                settings=AlignmentSettings(
                    sampler_step_index=step, layer=layer, num_inference_steps=4
                ),
            )
            torch.testing.assert_close(grid[:, row, layer], single, rtol=1e-4, atol=1e-6)


def test_one_forward_a_step(network: RefinementNetwork, scheduler: Any) -> None:
    calls: list[int] = []
    handle = network.unet.register_forward_pre_hook(lambda m, a: calls.append(1))
    try:
        calibrate(network, scheduler, [make_batch()], SETTINGS)
    finally:
        handle.remove()
    assert len(calls) == 3


def test_gamma_is_the_mean_iou(network: RefinementNetwork, scheduler: Any) -> None:
    batch = make_batch((True, False))
    found = calibrate(network, scheduler, [batch], SETTINGS)
    assert found.num_cases == 1
    assert found.steps == (0, 2)
    pixels = batch.normalized()
    grid = correspondence_grid(
        network,
        scheduler,
        image=pixels.image,
        artifact_mask=pixels.artifact_mask,
        reference=pixels.reference,
        noise=KeyedNoise(9, (0, 1)),
        settings=SETTINGS,
    )
    truth = batch.correspondence_mask[0, 0].numpy() >= 0.5
    mask = correspondence_mask(grid[0, 1, 9].numpy()).mask
    assert found.gamma[1, 9] == pytest.approx(iou(cells_to_pixels(mask, 32, 32), truth))


class Planted(nn.Module):
    """Attention whose every query looks at given tokens."""

    def __init__(self, wanted: Tensor) -> None:
        super().__init__()
        self.register_buffer("wanted", wanted)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.wanted.expand(tokens.shape[0], -1, -1)


def test_calibration_finds_the_planted_layer(network: RefinementNetwork, scheduler: Any) -> None:
    layer = network.cross_attention_layers()[11][1]
    truth = torch.zeros(8, 8, dtype=torch.bool)
    truth[1:4, 2:5] = True
    width = layer.to_q.out_features
    original = layer.to_q, layer.to_k
    layer.to_q = nn.Linear(layer.to_q.in_features, width)
    nn.init.zeros_(layer.to_q.weight)
    nn.init.ones_(layer.to_q.bias)
    layer.to_k = Planted(20.0 * truth.reshape(1, 64, 1).expand(1, 64, width).float())
    try:
        found = calibrate(network, scheduler, [make_batch()], SETTINGS)
    finally:
        layer.to_q, layer.to_k = original
    assert found.best == (0, 11)
    assert found.gamma[:, 11].tolist() == [1.0, 1.0]
    assert found.gamma_box[0, 11] == 1.0
    assert json.loads(json.dumps(found.to_dict()))["layer"] == 11


def test_unknown_matches_alone_are_refused(network: RefinementNetwork, scheduler: Any) -> None:
    with pytest.raises(InputError, match="annotated"):
        calibrate(network, scheduler, [make_batch((False, False))], SETTINGS)


def test_scores_are_kept_case_by_case(network: RefinementNetwork, scheduler: Any) -> None:
    together = calibrate(network, scheduler, [make_batch()], SETTINGS)
    assert together.scores.shape == (2, 2, 2, 16)
    alone = calibrate(network, scheduler, [make_batch((True, False))], SETTINGS)
    np.testing.assert_allclose(together.scores[0], alone.scores[0])


def test_steps_are_sorted_without_doubles() -> None:
    assert GridSettings(num_inference_steps=3).step_indices() == (0, 1, 2)
    assert dataclasses.replace(SETTINGS, steps=None).step_indices() == (0, 1, 2, 3)
