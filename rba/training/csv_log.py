"""A CSV log that a resumed run continues: Lightning's own deletes the earlier rows."""

import csv
from pathlib import Path

from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # pyright: ignore
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


class _ContinuingWriter(_ExperimentWriter):
    """Keep the rows of an existing file, and its columns."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


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
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["step"]) <= step)
    partial.replace(path)
