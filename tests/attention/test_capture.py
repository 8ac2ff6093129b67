"""Captured probabilities against a plain softmax, outputs against the original processor."""

import math

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from rba.attention.capture import attention_probabilities, capture_attention

HEADS, WIDTH, KEYS, QUERIES = 4, 32, 9, 16


class Stack(nn.Module):
    """Three cross-attention modules one after another, as the blocks of a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Attention(WIDTH, cross_attention_dim=24, heads=HEADS, dim_head=WIDTH // HEADS)
            for _ in range(3)
        )
        self.ran = 0

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        for layer in self.layers:
            self.ran += 1
            hidden = hidden + layer(hidden, encoder_hidden_states=tokens)
        return hidden

    def named(self) -> list[tuple[str, nn.Module]]:
        return [(str(index), layer) for index, layer in enumerate(self.layers)]


@pytest.fixture
def stack() -> Stack:
    torch.manual_seed(0)
    return Stack().eval()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, QUERIES, WIDTH, generator=generator) * 3,
        torch.randn(2, KEYS, 24, generator=generator) * 3,
    )


def plain_softmax(layer: Attention, hidden: Tensor, tokens: Tensor) -> Tensor:
    """The textbook formula, one head and one example after another."""
    queries, keys = layer.to_q(hidden), layer.to_k(tokens)
    size = WIDTH // HEADS
    result = torch.zeros(len(hidden), hidden.shape[1], tokens.shape[1])
    for example in range(len(hidden)):
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = queries[example, :, part] @ keys[example, :, part].T / math.sqrt(size)
            result[example] += torch.softmax(scores, dim=-1) / HEADS
    return result


@torch.no_grad()
def test_probabilities_equal_a_plain_softmax(stack: Stack, inputs: tuple[Tensor, Tensor]) -> None:
    hidden, tokens = inputs
    with capture_attention(stack.named()) as captured:
        stack(hidden, tokens)
    assert list(captured) == ["0", "1", "2"]
    for layer in stack.layers:
        expected = plain_softmax(layer, hidden, tokens)
        torch.testing.assert_close(captured.pop(next(iter(captured))), expected)
        hidden = hidden + layer(hidden, encoder_hidden_states=tokens)


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
@torch.no_grad()
def test_output_equals_the_original_processors_bit_for_bit(
    stack: Stack, inputs: tuple[Tensor, Tensor], processor: type
) -> None:
    for _, layer in stack.named():
        layer.set_processor(processor())
    expected = stack(*inputs)
    with capture_attention(stack.named()[1:]):
        assert isinstance(stack.layers[0].processor, processor)
        output = stack(*inputs)
    assert torch.equal(output, expected)


@torch.no_grad()
def test_rows_sum_to_one_and_average_equals_diffusers_scores(
    stack: Stack, inputs: tuple[Tensor, Tensor]
) -> None:
    hidden, tokens = inputs
    layer = stack.layers[0]
    with capture_attention([("only", layer)]) as captured:
        layer(hidden, encoder_hidden_states=tokens)
    query = layer.head_to_batch_dim(layer.to_q(hidden))
    key = layer.head_to_batch_dim(layer.to_k(tokens))
    scores = layer.get_attention_scores(query, key).unflatten(0, (2, HEADS)).mean(1)
    torch.testing.assert_close(captured["only"], scores)
    torch.testing.assert_close(captured["only"].sum(-1), torch.ones(2, QUERIES))


@torch.no_grad()
def test_half_precision_is_captured_in_float32(stack: Stack, inputs: tuple[Tensor, Tensor]) -> None:
    stack.bfloat16()
    hidden, tokens = (tensor.bfloat16() for tensor in inputs)
    with capture_attention(stack.named()) as captured:
        stack(hidden, tokens)
    assert all(value.dtype == torch.float32 for value in captured.values())
    torch.testing.assert_close(captured["2"].sum(-1), torch.ones(2, QUERIES))


@torch.no_grad()
def test_picture_shaped_input_with_group_norm() -> None:
    torch.manual_seed(0)
    layer = Attention(32, heads=2, dim_head=16, norm_num_groups=8, residual_connection=True).eval()
    hidden = torch.randn(1, 32, 4, 4)
    flat = layer.group_norm(hidden.flatten(2)).transpose(1, 2)
    expected = torch.softmax(
        layer.head_to_batch_dim(layer.to_q(flat))
        @ layer.head_to_batch_dim(layer.to_k(flat)).transpose(1, 2)
        / 4.0,
        dim=-1,
    ).mean(0, keepdim=True)
    torch.testing.assert_close(attention_probabilities(layer, hidden), expected)


@torch.no_grad()
def test_selected_queries_are_rows_of_all(stack: Stack, inputs: tuple[Tensor, Tensor]) -> None:
    with capture_attention(stack.named()) as complete:
        expected = stack(*inputs)
    asked: list[tuple[str, int]] = []

    def select(name: str, count: int) -> Tensor:
        asked.append((name, count))
        return torch.tensor([3, 7])

    with capture_attention(stack.named(), select=select) as captured:
        output = stack(*inputs)
    assert asked == [("0", QUERIES), ("1", QUERIES), ("2", QUERIES)]
    assert torch.equal(output, expected)
    for name, probabilities in captured.items():
        torch.testing.assert_close(probabilities, complete[name][:, [3, 7]])


@torch.no_grad()
def test_stop_after_ends_the_forward_pass(stack: Stack, inputs: tuple[Tensor, Tensor]) -> None:
    originals = [layer.processor for layer in stack.layers]
    reached = False
    with capture_attention(stack.named(), stop_after="1") as captured:
        stack(*inputs)
        reached = True
    assert not reached
    assert stack.ran == 2
    assert set(captured) == {"0", "1"}
    assert [layer.processor for layer in stack.layers] == originals


def test_processors_are_restored_after_an_exception(
    stack: Stack, inputs: tuple[Tensor, Tensor]
) -> None:
    originals = [layer.processor for layer in stack.layers]
    with pytest.raises(RuntimeError, match="mat1 and mat2"), capture_attention(stack.named()):
        stack(inputs[0], inputs[1][..., :5])
    assert [layer.processor for layer in stack.layers] == originals


def test_processors_are_restored_when_swapping_fails_halfway(stack: Stack) -> None:
    originals = [layer.processor for layer in stack.layers]
    layers = [*stack.named(), ("broken", nn.Identity())]
    with pytest.raises(AttributeError), capture_attention(layers):
        pass
    assert [layer.processor for layer in stack.layers] == originals


@torch.no_grad()
def test_captures_nest(stack: Stack, inputs: tuple[Tensor, Tensor]) -> None:
    originals = [layer.processor for layer in stack.layers]
    with capture_attention(stack.named()) as outer:
        with capture_attention(stack.named(), stop_after="0") as inner:
            stack(*inputs)
        assert set(inner) == {"0"}
        stack(*inputs)
    assert torch.equal(outer["0"], inner["0"])
    assert [layer.processor for layer in stack.layers] == originals


def test_a_processor_with_weights_keeps_its_place(stack: Stack) -> None:
    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(1))

    trained = Trained()
    stack.layers[0].set_processor(trained)
    names = set(dict(stack.named_parameters()))
    with capture_attention(stack.named()):
        pass
    assert stack.layers[0].processor is trained
    assert set(dict(stack.named_parameters())) == names


def test_wrong_names_are_refused(stack: Stack) -> None:
    layer = stack.layers[0]
    with pytest.raises(ValueError, match="unique"), capture_attention([("a", layer)] * 2):
        pass
    with (
        pytest.raises(ValueError, match="cannot stop after 'b'"),
        capture_attention([("a", layer)], stop_after="b"),
    ):
        pass
