"""Parameter groups with the paper's two learning rates, and the learning-rate schedule."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rba.errors import InputError
from rba.models.lora import has_lora
from rba.models.network import RefinementNetwork


def parameter_groups(
    network: RefinementNetwork, learning_rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return one named group a trained part: ``connector`` (the MLP), ``unet``, maybe ``encoder``.

    The adapters of a U-Net that is frozen otherwise are the group ``lora``.

    Args:
        network: Its frozen parts give no group.
        learning_rates: Rate by part (appendix A.3: MLP 4e-5, U-Net 1e-5).

    Raises:
        InputError: If a trained part has no rate, or a rate is no number or belongs to no part.
    """
    trained = {
        "lora" if has_lora(part) else name: [p for p in part.parameters() if p.requires_grad]
        for name, part in network.named_children()
    }
    trained = {name: parameters for name, parameters in trained.items() if parameters}
    missing = sorted(set(trained) - set(learning_rates))
    if missing:
        raise InputError(
            f"no learning rate for the trained part {', '.join(missing)}; "
            f"set optimizer.learning_rates.{missing[0]}"
        )
    known = {"lora", *(name for name, _ in network.named_children())}
    unknown = sorted(set(learning_rates) - known)
    if unknown:
        raise InputError(
            f"optimizer.learning_rates.{unknown[0]} names no part; parts: {', '.join(trained)}"
        )
    for name, rate in learning_rates.items():
        if type(rate) not in (int, float) or not 0 <= rate < math.inf:
            raise InputError(f"optimizer.learning_rates.{name}={rate}; give a number >= 0")
    return [
        {"name": name, "params": parameters, "lr": learning_rates[name]}
        for name, parameters in trained.items()
    ]


def warmup_then_constant(optimizer: Optimizer, warmup_steps: int) -> LambdaLR:
    """Raise every group's rate linearly over ``warmup_steps`` optimiser steps, then keep it."""

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / (warmup_steps + 1))

    return LambdaLR(optimizer, factor)


def lay_out_moments(optimizer: Optimizer) -> None:
    """Let moments lie in memory as their weights do, where a checkpoint brought them otherwise.

    A fused kernel walks through both in memory's order; on a CPU it does not look whether that is
    the same. A run that has channels last may go on without, and the other way round.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            same_shape = isinstance(value, Tensor) and value.shape == parameter.shape
            if same_shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter.detach(), dtype=value.dtype).copy_(value)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return (all, trained) parameter counts."""
    counts = [(p.numel(), p.numel() if p.requires_grad else 0) for p in module.parameters()]
    return sum(c for c, _ in counts), sum(t for _, t in counts)
