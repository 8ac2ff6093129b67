"""The connector works on each token by itself; its null condition is one token repeated."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rba.models.connector import Connector


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return Connector(in_features=6, hidden_features=10, out_features=8)


def test_it_is_the_mlp_of_algorithm_1_written_out(connector: Connector) -> None:
    first, second = connector.layers[1], connector.layers[3]
    tokens = torch.randn(2, 5, 6)
    hidden = F.gelu(F.layer_norm(tokens, (6,)) @ first.weight.T + first.bias)
    expected = F.layer_norm(hidden @ second.weight.T + second.bias, (8,))
    torch.testing.assert_close(connector(tokens), expected)


def test_layers_come_in_the_stated_order(connector: Connector) -> None:
    kinds = [type(layer) for layer in connector.layers]
    assert kinds == [nn.LayerNorm, nn.Linear, nn.GELU, nn.Linear, nn.LayerNorm]


def test_every_token_is_mapped_by_itself(connector: Connector) -> None:
    tokens = torch.randn(2, 5, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(connector(tokens[:, order]), connector(tokens)[:, order])
    changed = tokens.clone()
    changed[0, 2, 0] += 1.0
    difference = (connector(changed) - connector(tokens)).abs().amax(dim=-1) > 1e-6
    assert difference.nonzero().tolist() == [[0, 2]]


def test_the_null_condition_is_one_learned_token_repeated(connector: Connector) -> None:
    tokens = connector.null_tokens(3, 7)
    assert tokens.shape == (3, 7, 8)
    assert torch.equal(tokens, connector.null_token.expand(3, 7, 8))
    assert connector.null_token.abs().max() > 0, "not the zero vector"
    tokens.sum().backward()
    assert connector.null_token.grad is not None
    torch.testing.assert_close(connector.null_token.grad, torch.full((8,), 21.0))


def test_saving_and_loading_keeps_every_weight(connector: Connector, tmp_path: Path) -> None:
    connector.save_pretrained(tmp_path)
    loaded = Connector.from_pretrained(tmp_path)
    assert {k: loaded.config[k] for k in ("in_features", "hidden_features", "out_features")} == {
        "in_features": 6,
        "hidden_features": 10,
        "out_features": 8,
    }
    state = loaded.state_dict()
    assert set(state) == set(connector.state_dict())
    assert all(torch.equal(state[name], value) for name, value in connector.state_dict().items())
