import torch

from rba.models.encoder import load_encoder
from rba.models.positions import sincos_embedding


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
