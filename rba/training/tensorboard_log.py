"""A TensorBoard log that outlives a full disk: Lightning's own ends the run with a traceback."""

# The file under a SummaryWriter has no public name.
# pyright: reportPrivateUsage=false

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from torch.utils.tensorboard import SummaryWriter

from rba.training.disk_faults import DiskFaults

_ROOM = 1 << 20  # bytes to be had before a new event file is begun


class _Borne:
    """A file that stays silent from its first failure on: what follows a torn record is lost."""

    def __init__(self, file: Any, faults: DiskFaults) -> None:
        self._file, self._faults = file, faults
        self.is_torn = False

    def write(self, data: bytes) -> None:
        self._attempt(self._file.write, data)

    def flush(self) -> None:
        self._attempt(self._file.flush)

    def close(self) -> None:
        self._attempt(self._file.close)

    def _attempt(self, action: Any, *data: bytes) -> None:
        with self._faults.borne():
            if self.is_torn and data:
                raise OSError(f"{self._faults.what} wait for room on the disk")
            try:
                action(*data)
            except OSError:
                self.is_torn = True
                raise


class EnduringTensorBoardLogger(TensorBoardLogger):
    """`TensorBoardLogger`; where its file cannot be written, a new one is begun once there is room.

    Events in between are lost (`metrics.csv` has the figures), counted, and warned of.
    """

    def __init__(self, save_dir: str, name: str, version: str = "") -> None:
        super().__init__(save_dir=save_dir, name=name, version=version)
        self.faults = DiskFaults(f"TensorBoard's events in {self.log_dir}")
        self._file: _Borne | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer of the events."""
        if self._file is not None and self._file.is_torn and _has_room(Path(self.log_dir)):
            self._experiment = self._file = None
            self._kwargs.pop("purge_step", None)  # it hides what an earlier run logged: once
        writer = super().experiment
        if self._file is None:
            event_file: Any = writer._get_file_writer().event_writer._async_writer._writer  # pyright: ignore
            self._file = event_file._writer = _Borne(event_file._writer, self.faults)
        return writer

    def save(self) -> None:
        """Flush."""
        with self.faults.borne():
            super().save()


def _has_room(folder: Path) -> bool:
    probe = folder / ".room"
    try:
        probe.write_bytes(bytes(_ROOM))
    except OSError:
        return False
    finally:
        if os.path.lexists(probe):
            probe.unlink()
    return True
