"""Sharded parameters on a mesh of one process: the same figures, the same state."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from rba.batch import Batch
from rba.models.network import RefinementNetwork
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.skip_non_finite import SkipNonFinite
from rba.training.module import RefineByAlignModule
from rba.training.sharding import is_sharded, local_part, part_like, shard_network, whole

pytestmark = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view tensor")


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_loss_gradients_and_gathered_weights_are_those_of_whole_parameters(
    network: RefinementNetwork,
    mesh: DeviceMesh,
    make_module: Callable[..., RefineByAlignModule],
    make_batch: Callable[..., Batch],
) -> None:
    module: Any = make_module()
    module.log = lambda *_, **__: None
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss = module.training_step(make_batch(), 0)
    loss.backward()
    gradients = {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }
    network.zero_grad(set_to_none=True)

    shard_network(network, mesh)
    trained = [p for p in network.parameters() if p.requires_grad]
    assert all(map(is_sharded, trained))
    sharded_loss = module.training_step(make_batch(), 0)
    sharded_loss.backward()
    assert torch.equal(loss, sharded_loss)
    found = whole({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert found.keys() == gradients.keys()
    assert "connector.null_token" in found
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, msg=name)
    after = whole(dict(network.state_dict()))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_whole_tensor_is_cut_like_a_parameter(
    network: RefinementNetwork, mesh: DeviceMesh
) -> None:
    shard_network(network, mesh)
    parameter: Any = network.connector.null_token
    cut = part_like(torch.arange(parameter.numel()).float(), parameter)
    assert is_sharded(cut)
    assert whole([cut])[0].tolist() == list(range(parameter.numel()))
    step = torch.tensor(3.0)
    assert part_like(step, parameter) is step


def test_the_average_follows_the_shards_and_its_state_is_whole(
    network: RefinementNetwork, mesh: DeviceMesh, make_module: Callable[..., RefineByAlignModule]
) -> None:
    module: Any = make_module()
    module._device_mesh = {"data_parallel": mesh}
    callback, trainer = EMACallback(0.0), SimpleNamespace(global_step=0)
    callback.setup(trainer, module, "fit")  # pyright: ignore
    module.configure_model()
    callback.on_fit_start(trainer, module)  # pyright: ignore
    token: Any = network.connector.null_token
    with torch.no_grad():
        local_part(token).fill_(2.0)
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, module, None, None, 0)  # pyright: ignore
    with torch.no_grad():
        local_part(token).fill_(5.0)
    callback.on_validation_start(trainer, module)  # pyright: ignore
    assert whole([token])[0].tolist() == pytest.approx([2.0] * token.numel())
    callback.on_validation_end(trainer, module)  # pyright: ignore
    assert set(whole([token])[0].tolist()) == {5.0}
    state = callback.state_dict()
    averages = dict(zip(state["names"], state["ema"]["shadow_params"], strict=True))
    assert not any(map(is_sharded, averages.values()))
    assert averages["connector.null_token"].tolist() == pytest.approx([2.0] * token.numel())
    callback.load_state_dict(state)
    assert not any(map(is_sharded, callback.ema.shadow_params))


def test_an_update_of_shards_is_left_out_on_the_device(
    network: RefinementNetwork,
    mesh: DeviceMesh,
    make_module: Callable[..., RefineByAlignModule],
    make_batch: Callable[..., Batch],
    tmp_path: Path,
) -> None:
    module: Any = make_module(optimizer=functools.partial(torch.optim.AdamW, fused=True))
    module._device_mesh = {"data_parallel": mesh}
    module.configure_model()
    optimizer = module.configure_optimizers()["optimizer"]
    guard: Any = SkipNonFinite(tmp_path / "non_finite.jsonl", 3)
    trainer = SimpleNamespace(
        global_step=0, global_rank=0, is_global_zero=True, loggers=[], lightning_module=module
    )
    for step, bad in enumerate([False, True, False]):
        before = [local_part(p).clone() for p in network.parameters() if p.requires_grad]
        trainer.global_step = step
        batch = make_batch()
        guard.on_train_batch_start(trainer, module, batch, step)
        loss = module.training_step(batch, step) * (float("inf") if bad else 1.0)
        guard.on_before_backward(trainer, module, loss)
        optimizer.zero_grad()
        loss.backward()
        guard.on_before_optimizer_step(trainer, module, optimizer)
        module.configure_gradient_clipping(optimizer, 1.0)
        optimizer.step()
        after = [local_part(p) for p in network.parameters() if p.requires_grad]
        assert all(map(torch.equal, before, after)) is bad
        assert float(module.update_done) == (not bad)
    assert guard.state_dict() == {"skipped": 1, "in_a_row": 0}
    assert {float(state["step"]) for state in optimizer.state.values()} == {2.0}
