"""Write checkpoints so that a killed process or a full disk never leaves a broken one behind."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, fsync, rename; read with ``weights_only=True``.

    Lightning's own writer goes through the system's temporary folder: no rename across file
    systems, no fsync, and the whole file in memory first.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; on failure the target is as it was.

        Raises:
            OSError: If the disk is full or not writable; the partial file is removed.
        """
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint without unpickling code."""
        del weights_only
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)
