"""Count, log and list the bad samples that were replaced; end the run where there are too many."""

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rba.batch import BadSample, Batch, Mode
from rba.data.bad_samples import BadSampleLimit, TooManyBadSamplesError, summarize, tabulate
from rba.errors import InputError
from rba.training.disk_faults import DiskFaults
from rba.training.step_lines import append_line, json_line, whole_lines

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Found:
    """Where a run met a bad sample first.

    Attributes:
        step: The optimiser step, from 0, of its batch; in validation the steps done.
        validation: Of a validation set.
        mode: The batch's mode.
        sample: What is bad.
    """

    step: int
    validation: bool
    mode: Mode
    sample: BadSample

    @property
    def place(self) -> tuple[bool, str, str, int]:
        """What makes it one: the same sample is met again in each epoch, by any rank."""
        return (self.validation, self.sample.dataset, self.sample.shard, self.sample.index)

    def facts(self) -> dict[str, Any]:
        """Return what a line of ``bad_samples.jsonl`` holds."""
        own = {"step": self.step, "validation": self.validation, "mode": str(self.mode)}
        return own | dataclasses.asdict(self.sample)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Found":
        """Invert `facts`."""
        step, validation, mode = (facts.pop(name) for name in ("step", "validation", "mode"))
        sample = BadSample(**facts)
        return cls(step=step, validation=validation, mode=Mode(mode), sample=sample)


class BadSampleLog(Callback):
    """Keep ``bad_samples.jsonl``: each bad sample once, whatever rank or worker met it.

    Each rank appends what it meets before it trains on the batch, so that a kill loses no line. At
    the interval the ranks tell each other; then the file is sorted, each new sample logged,
    ``data/bad_samples_MODE`` and ``data/bad_validation_samples_MODE`` go to the loggers, and all
    ranks end together where there are too many. A table is printed at the end. After a resume,
    lines of steps that run again are dropped first.

    Args:
        path: The file.
        every_n_steps: Interval in optimiser steps.
        max_bad_samples: How many a run bears.

    Raises:
        InputError: If the interval is below 1.
    """

    def __init__(
        self, path: str | Path, every_n_steps: int, max_bad_samples: BadSampleLimit
    ) -> None:
        if every_n_steps < 1:
            raise InputError(f"callbacks.bad_samples.every_n_steps={every_n_steps}; give 1 or more")
        self.path = Path(path)
        self.every_n_steps = every_n_steps
        self.limit = max_bad_samples
        self._faults = DiskFaults(str(path))
        self._known: dict[tuple[Any, ...], Found] = {}  # all ranks
        self._new: dict[tuple[Any, ...], Found] = {}  # this rank, since the ranks last met
        self._step = 0
        self._logged: tuple[int, dict[str, float]] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over what the run found before, up to where it resumes."""
        found: list[Found] = []
        if trainer.is_global_zero and self.path.exists():
            found = _read(self.path, trainer.global_step)
            _write(self.path, found)
        found = trainer.strategy.broadcast(found)
        self._known, self._new = {one.place: one for one in found}, {}
        self._step = trainer.global_step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Write down what was met for this batch."""
        self._meet(batch, trainer.global_step, validation=False)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write down what was met for this batch."""
        self._meet(batch, trainer.global_step, validation=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell each other at the interval."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            if self._step % self.every_n_steps == 0:
                self._share(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell each other what validation met."""
        self._share(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell each other the rest, and print the table."""
        self._share(trainer)
        self._print_table(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Log and print what this rank knows; the others may be gone."""
        self._learn(self._new.values(), log=trainer.is_global_zero)
        self._print_table(trainer)

    def _meet(self, batch: Batch, step: int, *, validation: bool) -> None:
        for sample in batch.replaced:
            one = Found(step=step, validation=validation, mode=batch.mode, sample=sample)
            if one.place not in self._known and one.place not in self._new:
                self._new[one.place] = one
                with self._faults.borne():  # `_share` writes it again
                    append_line(self.path, one.facts())

    def _share(self, trainer: Trainer) -> None:
        found = list(self._new.values())
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, found)
            found = [one for part in parts for one in part]
        self._learn(found, log=trainer.is_global_zero)
        if found:
            if trainer.is_global_zero:
                with self._faults.borne():
                    _write(self.path, self._known.values())
            trainer.strategy.barrier("bad_samples")  # no rank appends to the file being replaced
        counts = self._counts(trainer.datamodule.describe())  # pyright: ignore
        if (trainer.global_step, counts) != self._logged:  # an interval may end with a validation
            self._logged = (trainer.global_step, counts)
            for logger in trainer.loggers:
                logger.log_metrics(counts, step=trainer.global_step)
        self._require_few(trainer)

    def _learn(self, found: Iterable[Found], *, log: bool) -> None:
        for one in sorted(found):
            if one.place not in self._known:
                self._known[one.place] = one
                if log:
                    where = "validation" if one.validation else "training"
                    _log.warning("replaced in %s, step %d: %s", where, one.step, one.sample)
        self._new = {}

    def _counts(self, modes: Iterable[str]) -> dict[str, float]:
        counts = {
            f"data/bad_{kind}samples_{mode}": 0.0 for kind in ("", "validation_") for mode in modes
        }
        for one in self._known.values():
            kind = "validation_" if one.validation else ""
            name = f"data/bad_{kind}samples_{one.mode}"
            counts[name] = counts.get(name, 0.0) + 1.0
        return counts

    def _require_few(self, trainer: Trainer) -> None:
        data: Any = trainer.datamodule  # pyright: ignore
        for validation in (False, True):
            bad = [one.sample for one in self._known.values() if one.validation is validation]
            number = data.samples_read(trainer.global_step, validation=validation)
            words = self.limit.exceeded(len(bad), number)
            if words is not None:
                first = "; ".join(summarize(bad, shown=5))
                raise TooManyBadSamplesError(
                    f"{'validation: ' if validation else ''}{words}: {first}. {self.path} lists "
                    "them; repair the shards (data_tools/check_shards.py) or raise the limit, then "
                    "go on with resume=auto"
                )

    def _print_table(self, trainer: Trainer) -> None:
        if self._known and trainer.is_global_zero:
            for validation, where in ((False, "training"), (True, "validation")):
                bad = [one.sample for one in self._known.values() if one.validation is validation]
                if bad:
                    title = f"{len(bad):,} bad samples were replaced in {where} ({self.path}):"
                    print("\n".join([title, *tabulate(bad)]), flush=True)


def _read(path: Path, step: int) -> list[Found]:
    """Return what was found before a step."""
    lines = whole_lines(path)
    found = {one.place: one for one in sorted(map(Found.from_facts, lines), reverse=True)}
    return [one for one in found.values() if one.step < step + one.validation]


def _write(path: Path, found: Iterable[Found]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json_line(one.facts()) for one in sorted(found)), encoding="utf-8")
    partial.replace(path)
