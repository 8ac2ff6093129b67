import pickle

import numpy as np
import pytest
import torch

from rba.errors import InputError
from rba.models.encoder import ViewTokens, load_encoder, patch_tokens

ARCHITECTURE = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14,
    "image_size": 56,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dino")
    load_encoder(None, ARCHITECTURE).save_pretrained(place)
    return str(place)


@pytest.mark.parametrize(
    ("size", "grid"), [((84, 84), (6, 6)), ((300, 200), (6, 4)), ((5, 600), (1, 6))]
)
def test_tokens_cover_a_view_of_any_aspect(folder, size, grid):
    tokens = ViewTokens.open(folder, 84)(np.zeros((*size, 3), np.uint8))
    assert tokens.shape == (*grid, 32)


def test_tokens_are_those_of_the_encoder_in_any_process(folder):
    view = np.random.default_rng(0).integers(0, 256, (84, 56, 3), np.uint8)
    encode = pickle.loads(pickle.dumps(ViewTokens.open(folder, 84)))
    pixels = torch.from_numpy(view).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    with torch.no_grad():
        expected = patch_tokens(load_encoder(folder).eval(), pixels)[0].reshape(6, 4, 32)
    torch.testing.assert_close(encode(view), expected)


def test_what_is_no_encoder_is_named_at_the_start(tmp_path):
    with pytest.raises(InputError, match="needs encoder=DIR"):
        ViewTokens.open(None, 84)
    with pytest.raises(InputError, match="cannot open the encoder"):
        ViewTokens.open(str(tmp_path), 84)
