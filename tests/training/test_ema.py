"""The average against its definition, its swap, and its state."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from rba.training.callbacks.ema import EMACallback
from rba.training.module import RefineByAlignModule

Maker = Callable[..., RefineByAlignModule]


def trained(module: RefineByAlignModule) -> list[torch.Tensor]:
    return [p for p in module.network.parameters() if p.requires_grad]


def started(module: RefineByAlignModule, decay: float = 0.5) -> tuple[EMACallback, SimpleNamespace]:
    ema, trainer = EMACallback(decay), SimpleNamespace(global_step=0)
    ema.setup(trainer, module, "fit")
    ema.on_train_start(trainer, module)
    return ema, trainer


def test_it_follows_the_warmed_up_recursion_once_an_optimiser_step(make_module: Maker) -> None:
    module = make_module()
    ema, trainer = started(module)
    expected = [p.clone() for p in trained(module)]
    for step in range(1, 6):
        with torch.no_grad():
            for p in trained(module):
                p.add_(torch.randn_like(p))
        ema.on_train_batch_end(trainer, module, None, None, 0)  # accumulating: nothing happens
        trainer.global_step = step
        ema.on_train_batch_end(trainer, module, None, None, 0)
        # diffusers' EMAModel: the first update copies, then (1 + step) / (10 + step)
        decay = min((1 + step - 1) / (10 + step - 1), 0.5) if step > 1 else 0.0
        expected = [
            decay * e + (1 - decay) * p for e, p in zip(expected, trained(module), strict=True)
        ]
    for average, value in zip(ema.ema.shadow_params, expected, strict=True):
        torch.testing.assert_close(average, value.detach())


@pytest.mark.parametrize("end", ["on_validation_end", "on_exception"])
def test_validation_sees_the_average_and_training_gets_its_weights_back(
    make_module: Maker, end: str
) -> None:
    module = make_module()
    ema, trainer = started(module)
    with torch.no_grad():
        for p in trained(module):
            p.add_(1.0)
    own = [p.clone() for p in trained(module)]
    ema.on_validation_start(trainer, module)
    assert all(
        torch.equal(p, s) for p, s in zip(trained(module), ema.ema.shadow_params, strict=True)
    )
    assert not torch.equal(trained(module)[0], own[0])
    getattr(ema, end)(trainer, module, *[RuntimeError()] * (end == "on_exception"))
    assert all(torch.equal(p, o) for p, o in zip(trained(module), own, strict=True))
    ema.on_exception(trainer, module, RuntimeError())  # nothing is swapped any more
    assert all(torch.equal(p, o) for p, o in zip(trained(module), own, strict=True))


def test_state_round_trip_and_foreign_state(make_module: Maker) -> None:
    module = make_module()
    ema, trainer = started(module)
    trainer.global_step = 1
    ema.on_train_batch_end(trainer, module, None, None, 0)
    other, _ = started(module)
    other.load_state_dict(ema.state_dict())
    assert other.ema.optimization_step == 1
    with pytest.raises(ValueError, match="other parameters"):
        other.load_state_dict(ema.state_dict() | {"names": ["nothing"]})


def test_frozen_parts_are_not_averaged(make_module: Maker) -> None:
    module = make_module()
    names = started(module)[0].state_dict()["names"]
    assert names
    assert not any(name.startswith("autoencoder") for name in names)
