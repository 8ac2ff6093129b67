"""A step of a whole training waits for nothing: it runs on a device that holds no numbers."""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, IterableDataset

from rba.batch import Batch, Mode
from rba.settings import build, compose_config, plain, without_sources
from rba.training.callbacks import skip_non_finite
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint
from rba.training.check import on_meta
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:You defined a .validation_step."),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


SETTINGS = [
    "experiment=paper",
    "trainer=cpu",
    "data.alignment.shards=a",
    "data.refinement.shards=b",
    "model.network.encoder.architecture.num_hidden_layers=1",
    "model.network.unet.architecture.layers_per_block=1",
]


class NoNumbers(SingleDeviceStrategy):
    """The meta device, whose tensors have shapes alone; nothing can be brought back from it."""

    def __init__(self) -> None:
        super().__init__("meta", CPUAccelerator())

    def setup_environment(self) -> None:
        """Nothing: the accelerator would refuse its device."""

    def teardown(self) -> None:
        """Leave the network there."""


class Waits(TorchDispatchMode):
    """Notes copies between devices for which a host would wait; numbers cannot be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if copies and len({t.device for t in (*args, result) if isinstance(t, torch.Tensor)}) > 1:
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if waits:
                self.places += [str(f) for f in traceback.extract_stack() if "/rba/" in f.filename][
                    -1:
                ]
        return result


class Arrived:
    """A `HostCopy` that the device was done with before it was asked for: of a step before."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.shape = tensor.shape

    def wait(self) -> torch.Tensor:
        return torch.zeros(self.shape)


class Ends(Exception):
    """After enough steps: to end as usual would save and log, which reads."""


class Watch(Callback):
    """Watches a step of each mode, after the first step."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.steps = trainer.global_step
        if self.steps == 1:
            self.waits.__enter__()
        if self.steps == 3:
            self.waits.__exit__(None, None, None)
            raise Ends


class Batches(IterableDataset[Batch]):
    """Batches on the host, as the loader gives them."""

    def __init__(self, image: int, reference: int) -> None:
        self.image, self.reference = image, reference

    def __iter__(self) -> Iterator[Batch]:
        for step in range(8):
            yield Batch(
                mode=list(Mode)[step % 2],
                image=torch.zeros(2, 3, self.image, self.image, dtype=torch.uint8),
                artifact_mask=torch.ones(2, 1, self.image, self.image, dtype=torch.bool),
                reference=torch.zeros(2, 3, self.reference, self.reference, dtype=torch.uint8),
                reference_mask=torch.ones(2, 1, self.reference, self.reference, dtype=torch.bool),
                correspondence_mask=torch.ones(2, 1, self.reference, self.reference),
                correspondence_known=torch.ones(2, dtype=torch.bool),
                places=torch.zeros(2, 16, 16, 2),
                draws=torch.arange(2) + 2 * step,
                weight=torch.ones(2),
                sample_ids=("a", "b"),
            )


def test_a_step_with_the_default_callbacks_asks_the_device_for_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config("train", [*SETTINGS, f"runs_folder={tmp_path}"])
    (tmp_path / "paper").mkdir()
    network = on_meta(lambda: build(without_sources(config.model.network)))
    rates = plain(config.optimizer.learning_rates)
    module = RefineByAlignModule(
        network, build(config.model.scheduler), build(config.objective.loss),
        optimizer=build(config.optimizer.factory), learning_rates=rates,
    )  # fmt: skip
    watch = Watch()
    trainer = make_trainer(
        plain(config.trainer)
        | {"accelerator": "auto", "strategy": NoNumbers(), "limit_val_batches": 0},
        callbacks=[*(build(part) for part in config.callbacks.values()), watch],
        loggers=[], max_steps=9, validate_every_n_steps=9, accumulation=1,
        samples_file=tmp_path / "samples.jsonl",
    )  # fmt: skip
    batches = Batches(config.model.image_size, config.model.reference_size)
    monkeypatch.setattr(skip_non_finite, "HostCopy", Arrived)
    monkeypatch.setattr(skip_non_finite, "_DEVICES", ("meta",))
    # The kernel itself knows the device.
    adam = sys.modules[torch.optim.Adam.__module__]
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_: None)
    monkeypatch.setattr(ResumeCheckpoint, "on_exception", lambda *_: None)
    with pytest.raises(Ends):
        trainer.fit(module, DataLoader(batches, batch_size=None))
    assert watch.waits.places == []
    assert watch.steps == 3
