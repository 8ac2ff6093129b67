"""What `check=true` says, against counting by hand."""

import pytest
import torch

from rba.models.network import RefinementNetwork
from rba.training.check import (
    memory_estimate,
    report,
    saved_activation_bytes,
)


def test_saved_activations_match_what_autograd_keeps_for_real(network: RefinementNetwork) -> None:
    """The meta-device count equals the storages that a real forward pass keeps alive."""
    kept: dict[int, int] = {}
    alive = []
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and storage.nbytes():
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    network.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tokens = network.embed_references(torch.zeros(1, 3, 32, 32))
        latents = torch.zeros(1, 48, 8, 8)
        mask = torch.zeros(1, 1, 8, 8)
        network.predict(latents, torch.zeros(1, dtype=torch.int64), mask, latents, tokens)
    real = sum(kept.values())
    assert saved_activation_bytes(network, 32) == pytest.approx(real, rel=0.01)


def test_memory_counts_every_trained_weight_five_times(network: RefinementNetwork) -> None:
    estimate = memory_estimate(
        network.to("meta"), image_size=32, per_device_batch=2, precision="32-true"
    )
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert estimate["AdamW"] * 2**30 == 8 * trained
    assert estimate["together"] == pytest.approx(
        sum(v for k, v in estimate.items() if k != "together")
    )


def test_activations_grow_with_the_batch_and_halve_in_16_bits(network: RefinementNetwork) -> None:
    meta = network.to("meta")

    def activations(batch: int, precision: str) -> float:
        return memory_estimate(meta, image_size=32, per_device_batch=batch, precision=precision)[
            "activations"
        ]

    assert activations(6, "32-true") == pytest.approx(3 * activations(2, "32-true"))
    assert activations(2, "bf16-mixed") == pytest.approx(activations(2, "32-true") / 2)


def test_the_report_groups_thousands_and_nests() -> None:
    text = report({"a": 1234567, "b": {"c": 0.5, "d": "x"}})
    assert text == "a: 1,234,567\nb:\n  c: 0.50\n  d: x"
