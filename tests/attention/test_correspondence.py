"""Algorithm 1, step 7, against its sum written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.attention.correspondence import ArtifactQueries, correspondence_map


def probabilities(batch: int, queries: int, keys: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, queries, keys, generator=generator).softmax(dim=-1)


def map_of(attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    rows, shares = ArtifactQueries(mask)(attention.shape[1])
    return correspondence_map(attention[:, rows], shares)


def test_equals_the_sum_written_out() -> None:
    attention = probabilities(2, 16, 9)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 2:5, 3] = 1
    mask[1, 0, 7, 7] = 1
    result = map_of(attention, mask)
    for example in range(2):
        expected = torch.zeros(9)
        total = 0.0
        for i in range(4):
            for j in range(4):
                share = mask[example, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
                expected += share * attention[example, 4 * i + j]
                total += float(share)
        torch.testing.assert_close(result[example], (expected / total).reshape(3, 3))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 63), st.integers(0, 63), st.integers(0, 100))
def test_a_single_pixel_picks_its_query(x: int, y: int, seed: int) -> None:
    attention = probabilities(1, 64, 16, seed)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[0, 0, y, x] = True
    expected = attention[0, (y // 8) * 8 + x // 8].reshape(1, 4, 4)
    torch.testing.assert_close(map_of(attention, mask), expected)


def test_maps_sum_to_one_for_any_mask_and_size() -> None:
    mask = torch.rand(3, 1, 50, 50, generator=torch.Generator().manual_seed(0)) > 0.9
    result = map_of(probabilities(3, 49, 25), mask)
    assert result.shape == (3, 5, 5)
    torch.testing.assert_close(result.sum((1, 2)), torch.ones(3))


def test_a_map_is_not_rounded_where_a_training_computes_in_16_bits() -> None:
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    attention = probabilities(2, 16, 9)
    with torch.autocast("cpu", torch.bfloat16):
        result = map_of(attention, mask)
    assert torch.equal(result, map_of(attention, mask))


def test_the_queries_that_any_mask_touches_count_by_its_area() -> None:
    mask = torch.zeros(2, 1, 40, 40)
    mask[0, 0, 3:9, 4:22] = 1
    mask[1, 0, 39, 0] = 1
    queries = ArtifactQueries(mask)
    rows, shares = queries(64)
    assert rows.tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 56]
    area = torch.tensor([2.0, 10, 10, 10, 4, 4, 20, 20, 20, 8, 0])
    torch.testing.assert_close(shares, torch.stack([area / 108, torch.eye(11)[10]]))
    assert queries(64) is queries(64)
    assert queries(16)[0].tolist() == [0, 1, 2, 12]


def test_full_mask_is_the_mean_over_queries() -> None:
    attention = probabilities(1, 16, 4)
    result = map_of(attention, torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(result.flatten(), attention.mean(1).flatten())


@pytest.mark.parametrize(
    ("queries", "keys", "masks", "message"),
    [(15, 9, 1, "15 queries"), (16, 8, 1, "8 tokens"), (16, 9, 2, "2 masks for 1")],
)
def test_wrong_shapes_are_refused(queries: int, keys: int, masks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_of(probabilities(1, queries, keys), torch.ones(masks, 1, 8, 8))


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        map_of(probabilities(1, 16, 9), torch.zeros(1, 1, 8, 8))
