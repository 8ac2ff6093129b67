"""An exponential moving average of the trained parameters."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from rba.errors import InputError
from rba.models.checkpoint import EMA_KEY
from rba.training.average import DeviceAverage
from rba.training.sharding import is_sharded, local_part, part_like, reshard, shard_of, whole


class EMACallback(Callback):
    """Average the trained parameters after each optimiser step; validate with the average.

    `DeviceAverage` does the averaging; its decay warms up as ``(1 + step) / (10 + step)``. A step
    whose update was left out (the module's ``update_done``) is none. Where the parameters are in
    shards, so is the average, and all ranks gather the state together. State:
    ``{"names": [...], "ema": EMAModel.state_dict()}``.

    Args:
        decay: Upper bound of the decay, at least 0 and below 1.
        device: Where the average lies: None = beside the parameters, or ``cpu``, for which each
            step waits. In float32 whatever they are in: 16 bits would lose nearly all of its steps.

    Raises:
        InputError: If a value is out of range.
    """

    def __init__(self, decay: float, device: str | None = None) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"callbacks.ema.decay={decay}; give at least 0 and below 1")
        if device not in (None, "cpu"):
            raise InputError(f"callbacks.ema.device={device}; give null or cpu")
        self.decay = decay
        self.device = device
        self._ema: DeviceAverage | None = None
        self._names: list[str] = []
        self._shards: list[nn.Parameter] = []  # as `_trained` gives them
        self._last_step = 0
        self._is_swapped = False

    @property
    def ema(self) -> DeviceAverage:
        """The average; there is none before `setup`."""
        assert self._ema is not None
        return self._ema

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the average at the current weights."""
        if self._ema is None and not getattr(pl_module, "has_shards", False):
            self._start(pl_module)

    def _start(self, module: LightningModule) -> None:
        self._names = [name for name, _ in _trained(module)]
        self._shards = [parameter for _, parameter in _trained(module)]
        parameters = [local_part(parameter).float() for parameter in self._shards]
        self._ema = DeviceAverage(parameters, self.decay)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average to the device, or start it there, where shards have been made."""
        if self._ema is None:
            self._start(pl_module)
        self.ema.to(self.device or pl_module.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from where the run starts or resumes."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update once an optimiser step (accumulation calls this more often)."""
        before, self._last_step = self._last_step, trainer.global_step
        if self._last_step != before:
            self.update(pl_module.update_done)  # pyright: ignore

    def update(self, done: Any = None) -> None:
        """Average over the current weights; ``done`` as `DeviceAverage.step` takes it."""
        # Those that the optimiser moves: to look for them anew takes longer than to average.
        self.ema.step(self._beside([local_part(p) for p in self._shards]), done)

    def _beside(self, parameters: list[Any]) -> list[Any]:
        """Return the parameters where and as the average is; themselves, if they are so."""
        return [
            p if (p.device, p.dtype) == (s.device, s.dtype) else p.detach().to(s).requires_grad_()
            for p, s in zip(parameters, self.ema.shadow_params, strict=True)
        ]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        parameters = _local(pl_module)
        self.ema.store(parameters)
        self._is_swapped = True
        self.ema.copy_to(parameters)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the trained weights back, bit for bit."""
        reshard(pl_module.network)  # pyright: ignore
        self.ema.restore(_local(pl_module))
        self._is_swapped = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Swap the trained weights back where validation failed, for the checkpoint."""
        if self._is_swapped:
            self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return names and average in the same order."""
        state = self.ema.state_dict()
        if any(map(is_sharded, self._shards)):
            averages = zip(state["shadow_params"], self._shards, strict=True)
            state["shadow_params"] = whole([shard_of(*pair) for pair in averages])
        return {"names": list(self._names), EMA_KEY: state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over an average of the same parameters.

        Raises:
            ValueError: If it averages other parameters.
        """
        if state_dict["names"] != self._names:
            raise ValueError("the checkpoint averages other parameters than this network trains")
        state = dict(state_dict[EMA_KEY])
        averages = zip(state["shadow_params"], self._shards, strict=True)
        state["shadow_params"] = [local_part(part_like(*pair)) for pair in averages]
        self.ema.load_state_dict(state)
        self.ema.decay = self.decay  # the setting of now, not the checkpoint's


def _trained(module: LightningModule) -> list[tuple[str, nn.Parameter]]:
    network: Any = module.network
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _local(module: LightningModule) -> list[Any]:
    return [local_part(parameter) for _, parameter in _trained(module)]
