"""How a run is spread over devices: whole copies (DDP), or parameters in shards (FSDP2)."""

import datetime
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.optim import Optimizer

from rba.training.launcher import WatchingLauncher
from rba.training.sharding import part_like, whole


class CopiesStrategy(DDPStrategy):
    """`DDPStrategy` that watches the processes it starts.

    Args:
        timeout: Seconds that ranks wait for each other.
        grace: See `WatchingLauncher`.
    """

    def __init__(self, *, timeout: float, grace: float) -> None:
        super().__init__(timeout=datetime.timedelta(seconds=timeout))
        self.grace = grace

    def _configure_launcher(self) -> None:
        environment: Any = self.cluster_environment
        self._launcher = WatchingLauncher(
            environment, self.num_processes, self.num_nodes, self.grace
        )


class ShardsStrategy(ModelParallelStrategy):
    """FSDP2: each rank holds a part of the trained parameters, gradients, moments and average.

    Checkpoints are whole, as without shards: a run goes on with either, and exports alike. Rank 0
    needs main memory for one of them, each rank does while it resumes.

    Args:
        timeout: Seconds that ranks wait for each other.
        grace: See `WatchingLauncher`.
    """

    def __init__(self, *, timeout: float, grace: float) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=datetime.timedelta(seconds=timeout),
        )
        self.grace = grace

    def _configure_launcher(self) -> None:
        environment: Any = self.cluster_environment
        if not environment.creates_processes_externally:
            self._launcher = WatchingLauncher(
                environment, self.num_processes, self.num_nodes, self.grace
            )

    def setup_environment(self) -> None:
        """Let every rank hold another part."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands the optimiser's state to `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gather the weights; on the other ranks they are left out."""
        module: Any = self.lightning_module
        return whole(dict(module.state_dict()))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Gather the optimiser's state; on the other ranks it is left out."""
        return whole(optimizer.state_dict())

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Write what was gathered, on rank 0."""
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> Any:
        """Read a whole checkpoint, on each rank."""
        del weights_only  # always
        return self.checkpoint_io.load_checkpoint(checkpoint_path)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this rank's part of each weight."""
        module: Any = self.lightning_module
        own = module.state_dict()
        parts = {name: part_like(x, own.get(name)) for name, x in checkpoint["state_dict"].items()}
        module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this rank's part of each moment."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            numbers = [n for group in saved["param_groups"] for n in group["params"]]
            by_number = dict(zip(numbers, parameters, strict=True))
            state = {
                number: {key: part_like(x, by_number[number]) for key, x in values.items()}
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
