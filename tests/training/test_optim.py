"""Named parameter groups and the warm-up."""

import pytest
import torch

from rba.errors import InputError
from rba.models.network import RefinementNetwork
from rba.training.optim import (
    count_parameters,
    lay_out_moments,
    parameter_groups,
    warmup_then_constant,
)

RATES = {"connector": 4e-5, "unet": 1e-5, "encoder": 2e-5}


def test_each_trained_parameter_is_in_one_group_with_its_rate(network: RefinementNetwork) -> None:
    groups = parameter_groups(network, RATES)
    assert {group["name"]: group["lr"] for group in groups} == RATES
    grouped = [id(p) for group in groups for p in group["params"]]
    trained = [id(p) for p in network.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trained)
    assert len(set(grouped)) == len(grouped)


def test_a_frozen_encoder_needs_no_rate(network: RefinementNetwork) -> None:
    network.encoder.requires_grad_(False)
    groups = parameter_groups(network, {"connector": 1.0, "unet": 1.0})
    assert [group["name"] for group in groups] == ["connector", "unet"]


def test_a_missing_rate_and_an_unknown_part_are_refused(network: RefinementNetwork) -> None:
    with pytest.raises(InputError, match=r"learning_rates\.encoder"):
        parameter_groups(network, {"connector": 1.0, "unet": 1.0})
    with pytest.raises(InputError, match=r"learning_rates\.mlp"):
        parameter_groups(network, RATES | {"mlp": 1.0})


def test_warm_up_is_linear_and_then_constant() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_then_constant(optimizer, 4)
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])


def test_counts_of_all_and_trained_parameters() -> None:
    module = torch.nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    assert count_parameters(module) == (8, 6)


def test_moments_follow_how_weights_lie_in_memory() -> None:
    def trained(moments: torch.memory_format) -> torch.Tensor:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(4, 8, 3, 3))
        optimizer = torch.optim.AdamW([weight], 0.1, fused=True)
        for _ in range(2):
            weight.grad = torch.randn(4, 8, 3, 3)
            optimizer.step()
            state = optimizer.state[weight]  # as a checkpoint with the other setting brings it
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name].to(memory_format=moments)
            lay_out_moments(optimizer)
            assert state["exp_avg"].stride() == weight.stride()
        return weight.detach()

    assert torch.equal(trained(torch.channels_last), trained(torch.contiguous_format))
