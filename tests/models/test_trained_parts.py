"""Which parameters are trained, and which choices are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rba.errors import InputError
from rba.models.lora import LoraSettings
from rba.models.network import RefinementNetwork
from rba.models.trained_parts import (
    choose_trained,
    frozen_digests,
    require_first_weights,
    require_used_inputs,
    trained_names,
)

Make = Callable[..., RefinementNetwork]
LORA: dict[str, Any] = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["to_q", "to_out.0"]}


def lora(**changes: Any) -> LoraSettings:
    return LoraSettings(**(LORA | changes))


def chosen(network: RefinementNetwork, *parts: str) -> set[str]:
    choose_trained(network, list(parts), lora())
    return trained_names(network)


def test_each_choice_trains_its_parameters_and_no_others(make_network: Make) -> None:
    names = [name for name, _ in make_network().named_parameters()]

    def those(keep: Callable[[str], bool]) -> set[str]:
        return {name for name in names if keep(name)}

    assert chosen(make_network(), "unet") == those(lambda n: n.startswith("unet."))
    both = chosen(make_network(), "unet", "connector")
    assert both == those(lambda n: n.startswith(("unet.", "connector.")))
    attention = chosen(make_network(), "cross_attention")
    assert attention == those(lambda n: n.startswith("unet.") and ".attn2." in n)
    assert {n.split(".attn2.")[0] for n in attention} == {
        n.split(".attn2.")[0] for n in names if ".attn2." in n
    }
    encoder = chosen(make_network(), "encoder")
    assert encoder == those(lambda n: n.startswith("encoder.") and not n.endswith("mask_token"))
    adapters = chosen(make_network(), "lora")
    assert all(".lora_A." in n or ".lora_B." in n for n in adapters)
    ends = {n.split(".lora_")[0].rsplit(".", 1)[1] for n in adapters}
    assert ends == {"to_q", "0"}


def test_without_a_choice_the_network_stays_as_it_was_made(make_network: Make) -> None:
    network = make_network()
    before = trained_names(network)
    choose_trained(network, None, lora())
    assert trained_names(network) == before
    assert {name.split(".")[0] for name in before} == {"unet", "connector"}


def test_frozen_parts_stay_in_evaluation_mode(make_network: Make) -> None:
    network = make_network(train_encoder=True)
    choose_trained(network, ["connector"], None)
    network.train()
    assert network.connector.training
    assert not any(p.training for p in (network.unet, network.encoder, network.autoencoder))
    assert not network.train_encoder
    assert not network.encode_tokens(torch.zeros(1, 3, 32, 32)).requires_grad


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], r"train_parts=\[\] trains nothing; give some of unet, cross_attention, lora"),
        (["vae"], "vae is none of unet, cross_attention, lora, connector, encoder"),
        (["lora", "lora"], "names a part twice"),
        (["lora", "unet"], "lora and unet are two ways to train the U-Net"),
        (["cross_attention", "connector", "unet"], "cross_attention and unet are two ways"),
    ],
)
def test_choices_that_mean_nothing_are_refused(
    network: RefinementNetwork, parts: list[str], words: str
) -> None:
    before = trained_names(network)
    with pytest.raises(InputError, match=words):
        choose_trained(network, parts, lora())
    assert trained_names(network) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 0}, "lora.rank=0; give 1 or more"),
        ({"alpha": 0.0}, "lora.alpha=0.0; give a number above 0"),
        ({"alpha": float("nan")}, "lora.alpha=nan"),
        ({"dropout": 1.0}, "lora.dropout=1.0; give at least 0 and below 1"),
        ({"targets": []}, r"lora.targets=\[\]; give names"),
    ],
)
def test_settings_of_adapters_out_of_range_are_refused(changes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        lora(**changes)


def test_a_target_that_is_nowhere_is_refused_with_the_names_there_are(
    network: RefinementNetwork,
) -> None:
    with pytest.raises(InputError, match=r"lora.targets: to_qq ends .* attn1.to_k, attn1.to_q"):
        choose_trained(network, ["lora"], lora(targets=["to_q", "to_qq"]))


def test_random_weights_are_not_frozen() -> None:
    random = {"unet": {"source": None}, "connector": {}, "encoder": {"source": "a/b"}}
    with pytest.raises(InputError, match="would leave unet at its random weights; give init_from"):
        require_first_weights(["lora", "connector"], random, None)
    loaded = random | {"unet": {"source": "c/d"}}
    with pytest.raises(InputError, match="would leave connector at its random weights"):
        require_first_weights(["lora"], loaded, None)
    require_first_weights(["lora", "connector"], loaded, None)
    require_first_weights(["lora"], random, "model")
    require_first_weights(None, random, None)


def test_inputs_widened_by_zeros_are_not_frozen(make_network: Make) -> None:
    def widened(*parts: str) -> RefinementNetwork:
        network = make_network(patch=False)
        with torch.no_grad():
            network.unet.conv_in.weight[:, 4:] = 0.0
        choose_trained(network, parts, lora())
        return network

    words = r"only zeros for 5 of its 9 input channels \(from 4 on\)"
    with pytest.raises(InputError, match=words):
        require_used_inputs(widened("lora", "connector"))
    require_used_inputs(widened("unet"))


def test_digests_are_of_the_frozen_tensors_by_part(make_network: Make) -> None:
    plain, adapted, other = make_network(), make_network(), make_network()
    for network in (plain, other):
        choose_trained(network, ["connector"], None)
    choose_trained(adapted, ["lora", "connector"], lora())
    first = frozen_digests(plain)
    assert "connector" not in first
    assert {"encoder", "unet"} <= set(first)
    assert frozen_digests(adapted) == first, "adapters change no name and no tensor below them"
    with torch.no_grad():
        other.connector.layers[1].weight.add_(1.0)
    assert frozen_digests(other) == first
    with torch.no_grad():
        other.unet.conv_in.weight[0, 0, 0, 0] += 1e-6
    changed = frozen_digests(other)
    assert {part for part in first if first[part] != changed[part]} == {"unet"}
