"""A CSV log that a resumed run continues: Lightning's own deletes the earlier rows."""

import csv
import os
from pathlib import Path

from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # pyright: ignore
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from rba.training.disk_faults import DiskFaults


class _ContinuingWriter(_ExperimentWriter):
    """Keep the rows of an existing file, and its columns; on a full disk, keep new rows for later.

    A failed write leaves the file as it was.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir=log_dir)
        self._faults = DiskFaults(self.metrics_file_path)

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])

    def save(self) -> None:
        """Write the rows that are not written yet."""
        with self._faults.borne():
            self._save_whole()

    def _save_whole(self) -> None:
        path, columns = Path(self.metrics_file_path), list(self.metrics_keys)
        if self._record_new_keys() and path.is_file():
            try:
                self._rewrite_with_new_header(self.metrics_keys)
            except OSError:
                self.metrics_keys = columns
                raise
        size = path.stat().st_size if path.is_file() else 0
        try:
            super().save()
        except OSError:
            os.truncate(path, size)
            raise

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        _write_rows(path, fieldnames, rows)


class ResumableCSVLogger(CSVLogger):
    """`CSVLogger` whose ``metrics.csv`` goes on after a resume (see `drop_rows_from`)."""

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """The writer of ``metrics.csv``."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuingWriter(log_dir=self.log_dir)
        return self._experiment


def drop_rows_from(path: Path, step: int) -> None:
    """Remove the rows after optimiser step ``step``, written by a run that was killed later.

    Args:
        path: ``metrics.csv``; where there is none, there is nothing to do.
        step: The step of the checkpoint that the run resumes from.
    """
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        # A row cut off by a kill has no step; it goes too.
        rows = [row for row in reader if (row.get("step") or "").isdigit()]
    _write_rows(path, columns, [row for row in rows if int(row["step"]) <= step])


def _write_rows(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Replace the file; on failure it is as it was."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
