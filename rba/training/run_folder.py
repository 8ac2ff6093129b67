"""A run's folder: what is in it, and where a run that is started starts from."""

import dataclasses
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from rba.errors import InputError
from rba.models.checkpoint import holds_all, read_checkpoint
from rba.models.start_weights import describe_start
from rba.training.callbacks.resume_checkpoint import list_checkpoints
from rba.training.changed_settings import Change, write_changes
from rba.training.csv_log import drop_rows_from

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Paths of a run: ``config.yaml``, ``checkpoints/``, ``metrics.csv`` and alike.

    Attributes:
        path: ``RUNS_FOLDER/RUN_NAME``.
    """

    path: Path

    @classmethod
    def named(cls, runs_folder: str, run_name: str) -> "RunFolder":
        """Return the folder of a run.

        Raises:
            InputError: If the name would not be one folder below ``runs_folder``.
        """
        parts = run_name.split("/")
        if not all(re.fullmatch(r"[\w.=+-]+", part) and part.strip(".") for part in parts):
            raise InputError(
                f"run_name={run_name!r} is no folder name; use letters, digits, . _ - = + and /"
            )
        return cls(path=Path(runs_folder) / run_name)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """File of the sample ids."""
        return self.path / "samples.jsonl"

    def starting_point(self, resume: str | None, init_from: str | None) -> Path | None:
        """Return the checkpoint to resume from, or None to start at step 0.

        It is read once and held to its check sums. ``resume=auto`` steps back past damaged ones.

        Args:
            resume: None, ``auto`` or the path of a checkpoint.
            init_from: Model directory, shipped model or ``.ckpt`` for the first weights;
                ``resume=auto`` wins
                over it where the run already has a checkpoint, so the same command starts and
                continues a fine-tuning run.

        Raises:
            InputError: If a path is missing, both are given as paths, the run already has
                checkpoints and ``resume`` does not say that it should go on, none of them is whole,
                or its folder cannot be made.
        """
        self._require_writable()
        if init_from is not None:
            describe_start(init_from)
        existing = list_checkpoints(self.checkpoints)
        if resume is None:
            if existing:
                raise InputError(
                    f"{self.path} already holds {existing[-1].name}; continue it with resume=auto "
                    "or choose another run_name"
                )
            return None
        if resume == "auto":
            return _newest_whole(existing) if existing else None
        is_whole = not Path(resume).is_file() or holds_all(read_checkpoint(resume))
        if init_from is not None and is_whole:
            raise InputError(
                f"resume={resume} restores everything, init_from={init_from} takes weights only: "
                "give one of them"
            )
        if not Path(resume).is_file():
            available = ", ".join(path.name for path in existing) or "none"
            what = "is no file" if Path(resume).exists() else "does not exist"
            raise InputError(f"resume={resume} {what}; checkpoints of {self.path}: {available}")
        read_checkpoint(resume, verify=True)
        return Path(resume)

    def _require_writable(self) -> None:
        """Refuse a place where the run's folder cannot be made; makes nothing.

        Raises:
            InputError: Naming the part of the path that stands in the way.
        """
        there = self.checkpoints
        while not os.path.lexists(there):
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(
                f"{there} is not a folder that can be written to, so {self.path} cannot be the "
                "run's folder; choose another runs_folder or run_name"
            )

    def prepare(self, config_text: str, start: Path | None, changes: Sequence[Change] = ()) -> int:
        """Write ``config.yaml`` and drop what a killed run logged past its last checkpoint.

        Only the first of a run's processes touches the folder.

        Args:
            config_text: The composed configuration as YAML.
            start: The checkpoint that the run resumes from, None where it starts at step 0.
            changes: Settings that differ from the checkpoint's; they are printed, and added to
                ``changes.jsonl``.

        Returns:
            The step that the run starts at.

        Raises:
            InputError: If the folder cannot be written to.
        """
        step = 0 if start is None else int(read_checkpoint(start)["global_step"])
        if getattr(rank_zero_only, "rank", 0) == 0:  # Lightning sets it on the function
            self._prepare(config_text, step, changes)
        return step

    def _prepare(self, config_text: str, step: int, changes: Sequence[Change]) -> None:
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the run's folder {self.checkpoints} cannot be made: {error.strerror}; choose "
                "another runs_folder or run_name"
            ) from error
        for left in self.checkpoints.glob(".*.partial"):  # of a run that was killed while saving
            left.unlink(missing_ok=True)
        partial = self.path / ".config.yaml.partial"
        partial.write_text(config_text)
        partial.replace(self.path / "config.yaml")
        drop_rows_from(self.path / "metrics.csv", step)
        write_changes(self.path / "changes.jsonl", changes, step)
        for change in changes:
            print(f"from step {step} on: {change}", flush=True)


def _newest_whole(checkpoints: list[Path]) -> Path:
    """Return the newest checkpoint that can be read, naming those that cannot.

    Raises:
        InputError: If there is none: to start over must be the user's decision.
    """
    for path in reversed(checkpoints):
        try:
            read_checkpoint(path, verify=True)
        except InputError as error:
            _log.warning("stepping back past a damaged checkpoint: %s", error)
        else:
            return path
    raise InputError(
        f"none of the {len(checkpoints)} checkpoints in {checkpoints[0].parent} can be read; "
        "remove them to start over, or choose another run_name"
    )
