import numpy as np
import pytest
import torch

from rba.matching.dinov2 import TokenMatcher, mutual_tokens, token_matches
from rba.matching.exact import node_positions
from rba.matching.view_area import ViewArea

SIZE = (224, 280)  # 16 x 20 tokens of 14 pixels
AREA = ViewArea(SIZE, None)


def field(rows, columns, shift=(0.0, 0.0), channels=48, seed=0):
    """Tokens of a smooth random field, read at their middles moved by a shift in tokens (x, y)."""
    rng = np.random.default_rng(seed)
    frequency = rng.normal(0, 0.6, (channels, 2))
    phase = rng.uniform(0, 2 * np.pi, channels)
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    angle = (x + shift[0])[..., None] * frequency[:, 0] + (y + shift[1])[..., None] * frequency[
        :, 1
    ]
    return torch.from_numpy(np.cos(angle + phase)).float()


def errors(grid, size, shift):
    """Distance of matches from nodes moved by a shift in pixels (x, y)."""
    x, y = np.meshgrid(node_positions(size[1]), node_positions(size[0]))
    expected = np.stack([x + shift[0], y + shift[1]], axis=2)
    found = grid[..., :2].astype(float) * (size[1], size[0])
    return np.linalg.norm(found - expected, axis=2)


def test_a_view_matches_itself():
    tokens = field(16, 20)
    first, second = mutual_tokens(tokens, tokens, AREA, AREA, 0.5)
    assert len(first) == 320
    np.testing.assert_allclose(first, second, atol=1e-4)
    grid, fault = token_matches(tokens, tokens, AREA, AREA)
    assert fault is None
    assert grid.shape == (28, 35, 3)
    assert grid.dtype == np.float16
    known = np.isfinite(grid[..., 0])
    assert known.mean() > 0.95
    assert errors(grid, SIZE, (0, 0))[known].max() < 0.5
    assert (grid[known][:, 2] > 0).all()
    assert (grid[known][:, 2] <= 1).all()


@pytest.mark.parametrize("shift", [(3.0, -2.0), (0.5, 0.25), (-1.3, 2.4)])
def test_a_shifted_copy_is_matched_below_a_token(shift):
    target = field(16, 20)
    # What the target has at a place, the reference has at the place + shift.
    reference = field(16, 20, (-shift[0], -shift[1]))
    grid, fault = token_matches(target, reference, AREA, AREA)
    assert fault is None
    known = np.isfinite(grid[..., 0])
    assert known.mean() > 0.5
    error = errors(grid, SIZE, (14 * shift[0], 14 * shift[1]))[known]
    assert np.median(error) < 2.0  # of 14 pixels a token
    assert np.quantile(error, 0.95) < 5.0


def test_planted_features_are_found_and_others_are_not():
    generator = torch.Generator().manual_seed(1)
    target, reference = (torch.randn(16, 20, 64, generator=generator) for _ in range(2))
    reference[4:12, 9:17] = target[5:13, 3:11]  # 6 tokens to the right, 1 up
    grid, fault = token_matches(target, reference, AREA, AREA)
    assert fault is None
    known = np.isfinite(grid[..., 0])
    rows, columns = (np.nonzero(known)[axis] * 8 + 4.5 for axis in (0, 1))
    assert known.sum() > 100
    # The planted tokens cover 70 to 182 and 42 to 154 pixels; a token's side more is in reach.
    inside = (rows > 56) & (rows < 196) & (columns > 28) & (columns < 168)
    assert inside.mean() > 0.98
    assert np.quantile(errors(grid, SIZE, (6 * 14, -14))[known], 0.98) < 4.0


def test_only_tokens_on_the_objects_match():
    tokens, mask = field(16, 20), np.zeros(SIZE, bool)
    mask[56:168, 56:168] = True
    here, _ = mutual_tokens(tokens, tokens, ViewArea(SIZE, mask), AREA, 0.5)
    assert len(here) == 64
    assert ((here > 56) & (here < 168)).all()
    none = ViewArea(SIZE, np.zeros(SIZE, bool))
    for areas in ((none, AREA), (AREA, none)):
        grid, fault = token_matches(tokens, tokens, *areas)
        assert fault is None
        assert np.isnan(grid).all()


def test_views_of_other_sizes_and_aspects():
    reference = ViewArea((448, 448), None)
    target = field(16, 20)
    y, x = np.mgrid[0:32, 0:32]
    stretched = _resampled(field, x * (20 / 32), y * (16 / 32))
    grid, fault = token_matches(target, stretched, AREA, reference)
    assert fault is None
    known = np.isfinite(grid[..., 0])
    x, y = np.meshgrid(node_positions(280) / 280, node_positions(224) / 224)
    error = np.hypot(grid[..., 0] - x, grid[..., 1] - y)[known]
    assert known.mean() > 0.8
    assert np.quantile(error, 0.95) < 0.02


def _resampled(make, x, y):
    rng = np.random.default_rng(0)
    frequency = rng.normal(0, 0.6, (48, 2))
    phase = rng.uniform(0, 2 * np.pi, 48)
    step = (20 / 32 / 2, 16 / 32 / 2)
    angle = (x + step[0])[..., None] * frequency[:, 0] + (y + step[1])[..., None] * frequency[:, 1]
    return torch.from_numpy(np.cos(angle + phase)).float()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 40)])
def test_few_tokens_and_equal_ones_give_no_matches(shape):
    area = ViewArea((shape[0] * 14, shape[1] * 14), None)
    flat = torch.ones(*shape, 8)
    grid, fault = token_matches(flat, flat, area, area)
    assert fault is None
    assert np.isnan(grid).all()


def test_the_matcher_hands_views_to_the_encoder():
    seen = []

    def tokens(image):
        seen.append(image.shape)
        return field(16, 20)

    image = np.zeros((*SIZE, 3), np.uint8)
    grid, fault = TokenMatcher(tokens)(image, None, image, np.ones(SIZE, bool))
    assert seen == [(224, 280, 3)] * 2
    assert fault is None
    assert np.isfinite(grid[..., 0]).mean() > 0.9
