"""Cosine similarity against torch's."""

import math

import numpy as np
import pytest
import torch

from rba.metrics.similarity import cosine


@pytest.mark.parametrize("seed", range(3))
def test_equals_torch(seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 384)).astype(np.float32)
    expected = torch.cosine_similarity(torch.tensor(first), torch.tensor(second), dim=0)
    assert cosine(first, second) == pytest.approx(float(expected), abs=1e-6)


def test_known_angles() -> None:
    east, north = np.array([3.0, 0.0]), np.array([0.0, 0.5])
    assert cosine(east, 7 * east) == 1.0
    assert cosine(east, north) == 0.0
    assert cosine(east, -east) == -1.0
    assert math.isnan(cosine(east, np.zeros(2)))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two vectors"):
        cosine(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="two vectors"):
        cosine(np.ones((1, 3)), np.ones((1, 3)))
