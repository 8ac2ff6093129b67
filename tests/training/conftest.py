"""A network of a few thousand weights, and batches for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import Dinov2Config, Dinov2Model

from rba.batch import Batch, Example, Mode
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.network import RefinementNetwork
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule


@pytest.fixture
def network() -> RefinementNetwork:
    torch.manual_seed(0)
    return RefinementNetwork(
        PatchAutoencoder(4, 2.0),
        Dinov2Model(
            Dinov2Config(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                patch_size=8,
                image_size=32,
            )
        ),
        Connector(16, 16, 16),
        UNet2DConditionModel(
            sample_size=8,
            in_channels=97,
            out_channels=48,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=16,
        ),
        reference_size=32,
        train_encoder=True,
    )


@pytest.fixture
def scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)


@pytest.fixture
def make_module(
    network: RefinementNetwork, scheduler: DDIMScheduler
) -> Callable[..., RefineByAlignModule]:
    def make(**changes: object) -> RefineByAlignModule:
        settings: dict = {
            "objective": Objective(),
            "optimizer": torch.optim.AdamW,
            "learning_rates": {"connector": 1e-3, "unet": 1e-3, "encoder": 1e-3},
            "facts": {"image_size": 32, "config": {}},
        }
        return RefineByAlignModule(network, scheduler, **(settings | changes))

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(mode: Mode = Mode.ALIGNMENT, first: int = 0, size: int = 4) -> Batch:
        return Batch.collate(mode, [_example(draw) for draw in range(first, first + size)])

    return make


def _example(draw: int) -> Example:
    rng = np.random.default_rng(draw)
    mask = np.zeros((32, 32), bool)
    mask[8:16, 12:20] = True
    region = np.zeros((32, 32), np.float32)
    region[8:16, 8:16] = 1.0
    return Example(
        image=rng.integers(0, 256, (32, 32, 3), np.uint8),
        artifact_mask=mask,
        reference=rng.integers(0, 256, (32, 32, 3), np.uint8),
        reference_mask=np.ones((32, 32), bool),
        correspondence_mask=region,
        correspondence_known=True,
        draw=draw,
        sample_id=f"made/0/{draw}",
    )


@pytest.fixture(scope="session")
def equal() -> Callable[[Any, Any], bool]:
    """Return a function that compares nested containers, tensors bit for bit."""

    def same(first: Any, second: Any) -> bool:
        if isinstance(first, torch.Tensor):
            return torch.equal(first, second)
        if isinstance(first, dict):
            return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
        if isinstance(first, (list, tuple)):
            return len(first) == len(second) and all(map(same, first, second))
        return first == second

    return same
