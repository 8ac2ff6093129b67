"""Save a run's state on all ranks together, and say on all of them whether that worked."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer


def save_state(trainer: Trainer, path: Path, loops: dict[str, Any] | None) -> str | None:
    """Save weights, optimiser, callbacks and loops; all ranks must call this.

    `Trainer.save_checkpoint` would leave the other ranks waiting where rank 0 cannot write.

    Args:
        trainer: The trainer.
        path: The file.
        loops: State of the fit loop to save, None = as it is now.

    Returns:
        None, or why rank 0 could not write the file; then it is as it was.
    """
    checkpoint = dump_state(trainer, loops)
    return trainer.strategy.broadcast(write_state(trainer, checkpoint, path))


def dump_state(trainer: Trainer, loops: dict[str, Any] | None) -> dict[str, Any]:
    """Return the state in plain containers; without sharding a rank can do this alone."""
    connector: Any = trainer._checkpoint_connector  # pyright: ignore
    checkpoint = connector.dump_checkpoint(weights_only=False)
    if loops is not None:
        checkpoint["loops"]["fit_loop"] = loops
    return checkpoint


def write_state(trainer: Trainer, checkpoint: dict[str, Any], path: Path) -> str | None:
    """Write what `dump_state` returned, on rank 0 only; return why that failed, if it did."""
    if not trainer.is_global_zero:
        return None
    try:
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)
    except (OSError, RuntimeError) as error:  # torch hides some of the disk's errors in the latter
        return f"{path}: {error}".splitlines()[0]
    return None
