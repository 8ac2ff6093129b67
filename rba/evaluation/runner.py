"""Run the rows of the table one after another over a benchmark, and score every result."""

import dataclasses
import hashlib
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.case_set import CaseFacts, CaseSet, batches
from rba.evaluation.methods import Method, MethodResult
from rba.evaluation.result_files import ResultFolder
from rba.evaluation.scoring import Metric, score_result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runner:
    """Everything that is the same for all rows.

    Attributes:
        cases: Those of the table.
        metrics: By name.
        scored_with: Digest of the metrics; results that others scored are scored again.
        output: Holds ``methods/NAME``.
        batch_size: Cases that a method gets at a time.
    """

    cases: CaseSet
    metrics: Mapping[str, Metric]
    scored_with: str
    output: Path
    batch_size: int

    def folder(self, name: str) -> ResultFolder:
        """The folder of one row."""
        return ResultFolder(self.output / "methods" / name)

    def run(self, method: Method) -> int:
        """Do what is missing of one row, with a progress bar.

        Batches are the same slices of the set whatever is missing of them, so that a run that was
        stopped ends with the same bytes as one that never was.

        Returns:
            How many cases failed.
        """
        folder, failed = self.folder(method.name), 0
        interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file gets few lines
        with tqdm(
            total=len(self.cases.cases),
            desc=method.name,
            unit="case",
            mininterval=interval,
            dynamic_ncols=True,
        ) as bar:
            for batch in batches(self.cases.cases, self.batch_size):
                if any(self._missing(folder, facts) for facts in batch):
                    failed += self._run_batch(method, batch, folder)
                    bar.set_postfix({"failed": failed} if failed else None, refresh=False)
                bar.update(len(batch))
        return failed

    def _missing(self, folder: ResultFolder, facts: CaseFacts) -> bool:
        """Whether a case has to be run; one that was scored otherwise is only scored again."""
        stored = folder.scores(facts.id)
        if stored is not None and stored.error is None and stored.scored_with == self.scored_with:
            return not (folder.path / f"{facts.id}.png").is_file()
        result = folder.read(facts.id)
        if result is None:
            return True
        case = self.cases.read(facts)
        folder.write(facts.id, result, score_result(self.metrics, case, result), self.scored_with)
        return False

    def _run_batch(self, method: Method, batch: Sequence[CaseFacts], folder: ResultFolder) -> int:
        """Run, score and write a batch; return how many of its cases failed."""
        cases = [self.cases.read(facts) for facts in batch]
        failed = 0
        made = _make(method, cases, [facts.number for facts in batch])
        for facts, case, result in zip(batch, cases, made, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                scores = score_result(self.metrics, case, result)
            except Exception as error:  # told in the case's file, and counted in the report
                folder.write_failure(facts.id, *_told(error))
                failed += 1
            else:
                folder.write(facts.id, result, scores, self.scored_with)
        return failed


def metrics_digest(metrics: Mapping[str, Metric], settings: Mapping[str, object]) -> str:
    """Return what changes when a result would be scored otherwise."""
    told = [[metric.name, metric.definition, metric.skipped] for metric in metrics.values()]
    return hashlib.sha256(json.dumps([told, dict(settings)]).encode()).hexdigest()[:16]


def _make(
    method: Method, cases: Sequence[Case], numbers: Sequence[int]
) -> Sequence[MethodResult | Exception]:
    """Run a batch; where that fails, case by case, to find the one that does."""
    try:
        return list(method.run(cases, numbers))
    except Exception as error:
        if len(cases) == 1:
            return [error]
    return [_make(method, [case], [number])[0] for case, number in zip(cases, numbers, strict=True)]


def _told(error: Exception) -> tuple[str, str | None]:
    """Return one line, and the traceback of what is no mistake in the data."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError | OSError):
        return message, None
    return f"{type(error).__name__}: {message}", "".join(traceback.format_exception(error))
