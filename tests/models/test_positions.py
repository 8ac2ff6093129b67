import pytest
import torch

from rba.models.encoder import load_encoder
from rba.models.positions import position_grid, sincos_embedding


def test_each_cell_has_a_place_of_its_own_and_neighbours_are_alike() -> None:
    grid = position_grid(6, 9, 16, torch.zeros(1))
    assert grid.shape == (1, 16, 6, 9)
    assert float(grid.abs().max()) <= 1.0
    places = grid[0].flatten(1).T
    distances = torch.cdist(places, places)
    assert float((distances + 9.0 * torch.eye(54)).min()) > 0.1
    assert float(distances[0, 1]) < float(distances[0, 8])


def test_a_square_grid_is_the_same_along_both_axes() -> None:
    grid = position_grid(5, 5, 8, torch.zeros(1))[0]
    assert torch.equal(grid[:4], grid[4:].transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_grid_takes_the_dtype_of_the_latents(dtype) -> None:
    assert position_grid(2, 2, 4, torch.zeros(1, dtype=dtype)).dtype == dtype


def test_embeddings_tell_rows_and_columns_apart() -> None:
    embedding = sincos_embedding(4, 16).reshape(4, 4, 16)
    assert torch.equal(embedding[0, 0, :8], embedding[0, 3, :8])
    assert torch.equal(embedding[0, 0, 8:], embedding[3, 0, 8:])
    similarity = embedding.flatten(0, 1) @ embedding.flatten(0, 1).T
    assert torch.equal(similarity.argmax(dim=1), torch.arange(16))


def test_an_encoder_from_scratch_starts_with_them() -> None:
    encoder = load_encoder(
        None,
        {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        },
    )
    found = encoder.embeddings.position_embeddings[0, 1:].detach()
    expected = sincos_embedding(4, 16)
    torch.testing.assert_close(found / found.abs().max(), expected / expected.abs().max())
