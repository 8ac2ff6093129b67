"""Read the probabilities of chosen attention modules and leave everything else as it was.

diffusers' fused processors expose no probabilities. A temporary processor on the wanted modules
computes them beside the original one; every other module keeps its fused path.
"""

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Select = Callable[[str, int], Tensor]
"""Layer name, its number of queries -> int64 indices of those to keep, for the whole batch."""


class _Stop(BaseException):
    """Ends a forward pass early; a BaseException, so that no ``except Exception`` swallows it."""


class _CapturingProcessor:
    """Stores a module's probabilities, then lets the original processor compute its output.

    The output is the original's own, bit for bit. The price is one more projection of queries and
    keys, small beside the rest of a transformer block.
    """

    def __init__(
        self,
        original: Callable[..., Tensor],
        store: Callable[[Tensor], None],
        select: Callable[[int], Tensor] | None,
    ) -> None:
        self.original = original
        self.store = store
        self.select = select

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor:
        if attention_mask is not None:
            raise ValueError("capturing the probabilities of masked attention is not supported")
        with torch.no_grad():
            self.store(
                attention_probabilities(attn, hidden_states, encoder_hidden_states, self.select)
            )
        return self.original(
            attn,
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=attention_mask,
            temb=temb,
            **kwargs,
        )


def attention_probabilities(
    attention: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    select: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Return ``softmax(Q K^T / sqrt d)`` of a diffusers ``Attention`` module, averaged over heads.

    Args:
        attention: The module; read are ``to_q``, ``to_k``, ``heads``, ``scale`` and, where they
            are there, ``group_norm``, ``norm_cross``, ``norm_q``, ``norm_k``.
        hidden_states: [B, queries, C] or [B, C, h, w], what the module is called with.
        encoder_hidden_states: [B, keys, C'], or None for self-attention.
        select: Number of queries -> int64 indices of those that are wanted; None = all.

    Returns:
        [B, queries, keys] float32; each row sums to 1.
    """
    if hidden_states.ndim == 4:
        hidden_states = hidden_states.flatten(2).transpose(1, 2)
    if getattr(attention, "group_norm", None) is not None:
        hidden_states = attention.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
    context = hidden_states
    if encoder_hidden_states is not None:
        context = encoder_hidden_states
        if getattr(attention, "norm_cross", None):
            context = attention.norm_encoder_hidden_states(context)
    if select is not None:
        hidden_states = hidden_states[:, select(hidden_states.shape[1])]

    def split(projected: Tensor, norm: nn.Module | None) -> Tensor:
        heads = projected.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        return (heads if norm is None else norm(heads)).float()

    queries = split(attention.to_q(hidden_states), getattr(attention, "norm_q", None))
    keys = split(attention.to_k(context), getattr(attention, "norm_k", None))
    scores = (queries * attention.scale) @ keys.transpose(-1, -2)
    return scores.softmax(dim=-1).mean(dim=1)


@contextmanager
def capture_attention(
    layers: Sequence[tuple[str, Any]],
    *,
    stop_after: str | None = None,
    select: Select | None = None,
) -> Generator[dict[str, Tensor]]:
    """Capture the attention probabilities of ``layers`` during the body of a ``with`` statement.

    Args:
        layers: (name, diffusers ``Attention`` module) pairs; anything with ``processor``,
            ``set_processor`` and the attributes of `attention_probabilities`.
        stop_after: Name of one of ``layers``. The forward pass ends there, and with it the body:
            execution goes on after the ``with`` statement.
        select: Which queries are wanted; None = all. Few queries make capturing cheap.

    Yields:
        A dictionary that fills as the layers run: name -> [B, queries, keys] float32, averaged
        over heads. A layer that runs twice keeps its last value.

    Raises:
        ValueError: If two layers share a name, or ``stop_after`` is none of them.
    """
    captured: dict[str, Tensor] = {}
    names = [name for name, _ in layers]
    if len(set(names)) != len(names):
        raise ValueError(f"layer names must be unique, got {names}")
    if stop_after is not None and stop_after not in names:
        raise ValueError(f"cannot stop after {stop_after!r}, it is none of {names}")
    stop = _Stop()

    def storing(name: str) -> Callable[[Tensor], None]:
        def store(probabilities: Tensor) -> None:
            captured[name] = probabilities
            if name == stop_after:
                raise stop

        return store

    try:
        # Blocks that are compiled would be compiled again for each new processor.
        with ExitStack() as stack, torch.compiler.set_stance("force_eager"):
            for name, attention in layers:
                original = attention.processor
                stack.callback(attention.set_processor, original)
                chosen = None if select is None else functools.partial(select, name)
                attention.set_processor(_CapturingProcessor(original, storing(name), chosen))
            yield captured
    except _Stop as raised:
        if raised is not stop:
            raise
