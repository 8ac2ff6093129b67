"""Build shards of a list of inputs: shuffled, in parallel, the same bytes however often stopped."""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from tqdm import tqdm

from rba.data.build.built import Built
from rba.data.build.duplicates import DuplicateIndex
from rba.data.build.job import BuildJob, part_name
from rba.data.build.journal import Journal, Page, SeenRow, is_finished, read_facts
from rba.data.build.pool import num_workers, ordered_map
from rba.data.build.report import BuildReport
from rba.data.build.sizes import DroppedError, sample_key
from rba.data.output import OutputFolder
from rba.data.sample import Record
from rba.data.writer import ShardWriter, clear_shards, refuse_shards
from rba.draws import keyed_generator

T = TypeVar("T")

# Turns an input and the key proposed for it into a sample, or raises `DroppedError`. It is pickled
# once for each worker process; the same input gives the same sample in any of them.
Load = Callable[[T, str], Record | Built]

_CHUNKS_WORTH_A_WORKER = 8  # so that starting one pays
_CRASHED = "ended its process (a fault of the decoder, or too little memory)"


def build_shards(
    inputs: Sequence[tuple[str, T]],
    load: Load[T],
    out: str,
    job: BuildJob,
    dropped: Iterable[tuple[str, str]] = (),
    *,
    chunk: int = 8,
) -> BuildReport:
    """Build the shards of a list of inputs, or go on with a build that was stopped.

    Prints a progress bar and the summary; writes ``build_report.json`` beside the shards.

    Args:
        inputs: Name and input; the name stands in keys and in the report. Inputs are pickled.
        load: See `Load`.
        out: Folder, or URL of fsspec.
        job: How.
        dropped: Reason and name of what was left out before, for the report.
        chunk: Inputs that go to a worker at a time; 1 where each takes long.

    Returns:
        What was kept and dropped.

    Raises:
        InputError: If the output holds another set, or is full, or nothing was kept.
    """
    started = time.perf_counter()
    with job.output(out) as output:
        facts = {
            "kind": job.kind.value,
            "settings": job.manifest_settings(),
            "inputs": _digest(inputs),
            "part": part_name(job.part, job.parts),
        }
        journal = Journal(output, facts)
        if job.parts > 1 and not job.overwrite and is_finished(output):
            journal.refuse_others()
            print(f"{output} is finished already")
            return BuildReport()
        report = _Build(inputs, load, job, output, journal, chunk).run(dropped, started)
        print(report.table())
    return report


def _digest(inputs: Sequence[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for name, item in inputs:
        digest.update(f"{name}\0{item!r}\n".encode("utf-8", "surrogatepass"))
    return f"{len(inputs)} with sha256 {digest.hexdigest()[:16]}"


class _Step(Generic[T]):
    """What a worker does with one input; picklable."""

    def __init__(self, load: Load[T], quality: int) -> None:
        self._load = load
        self._quality = quality

    def __call__(self, task: tuple[int, str, T]) -> Built | str:
        position, name, item = task
        try:
            made = self._load(item, sample_key(position, name))
        except DroppedError as reason:
            return str(reason)
        return made if isinstance(made, Built) else Built(made.encode(self._quality), key=made.key)


class _Build(Generic[T]):
    """One run over the inputs that are left."""

    def __init__(
        self,
        inputs: Sequence[tuple[str, T]],
        load: Load[T],
        job: BuildJob,
        output: OutputFolder,
        journal: Journal,
        chunk: int,
    ) -> None:
        self._inputs, self._load, self._job, self._chunk = inputs, load, job, chunk
        self._output, self._journal = output, journal
        self._report = BuildReport()
        self._duplicates = DuplicateIndex(job.near_distance)
        self._next = len(inputs) * job.part // job.parts
        self._end = len(inputs) * (job.part + 1) // job.parts
        order = np.arange(len(inputs))
        if job.seed is not None:
            order = keyed_generator(job.seed, "build", job.kind.value, 0).permutation(len(inputs))
        self._order = order

    def run(self, dropped: Iterable[tuple[str, str]], started: float) -> BuildReport:
        """Go through the inputs that are left and finish the set."""
        job, report = self._job, self._report
        whole = job.parts == 1
        pages = self._begin()
        for page in pages:
            self._replay(page)
        if not pages and job.part == 0:  # so that merged parts report them once
            for reason, name in dropped:
                self._drop(reason, name)
        fewest = self._chunk * _CHUNKS_WORTH_A_WORKER
        report.workers = num_workers(job.workers, self._end - self._next, fewest=fewest)
        with ShardWriter(
            self._output,
            kind=job.kind,
            samples_per_shard=job.samples_per_shard,
            bytes_per_shard=job.bytes_per_shard,
            settings=job.manifest_settings(),
            entries=[page.entry for page in pages if page.entry is not None],
            on_finished=lambda entry: self._journal.finish(entry, self._next),
            allow_empty=not whole,
        ) as writer:
            self._write_all(writer)
            writer.finish_shards()
            self._journal.finish(None, self._end)
            if whole and not report.kept:
                self._journal.remove()
                report.require_kept(self._output)
            report.bytes = sum(entry.bytes for entry in writer.entries)
            report.seconds = time.perf_counter() - started
            report.write(self._output)
        if whole:  # merging needs the journals of parts
            self._journal.remove()
        return report

    def _begin(self) -> list[Page]:
        """Return the pages to go on from; none in a folder that is empty or made so."""
        output = self._output
        found = None if is_finished(output) else read_facts(output)
        if self._job.overwrite and found != self._journal.facts:
            clear_shards(output, keep=())
            self._journal.remove()
        elif found is None:
            refuse_shards(output, overwrite=False)
        self._journal.refuse_others()
        output.make()
        return self._journal.begin()

    def _replay(self, page: Page) -> None:
        """Take note of what an earlier run has finished."""
        self._report.drop_all(page.dropped)
        for row in page.seen:
            self._judge(row)
        self._next = page.next

    def _drop(self, reason: str, name: str) -> None:
        self._journal.drop(reason, name)
        self._report.drop(reason, name)

    def _judge(self, row: SeenRow) -> bool:
        """Count an input that passed the filters; return whether it is no duplicate."""
        reason = row.fingerprint and self._duplicates.add(row.fingerprint)
        if reason is None:
            self._report.kept += 1
            return True
        self._report.drop(reason, row.name)
        return False

    def _write_all(self, writer: ShardWriter) -> None:
        begin, end = self._next, self._end
        results = ordered_map(
            _Step(self._load, self._job.quality),
            self._tasks(range(begin, end)),
            workers=self._report.workers,
            chunk=self._chunk,
            crashed=lambda _: _CRASHED,
        )
        name, start = self._output.name, len(self._inputs) * self._job.part // self._job.parts
        with tqdm(
            total=end - start, initial=begin - start, desc=name, unit="input", disable=None
        ) as bar:
            for position, made in zip(range(begin, end), results, strict=True):
                self._next = position
                self._take(position, made, writer)
                self._report.inputs += 1
                bar.update()
                bar.set_postfix(kept=self._report.kept, refresh=False)
        self._next = end

    def _tasks(self, positions: range) -> Iterator[tuple[int, str, T]]:
        for position in positions:
            name, item = self._inputs[int(self._order[position])]
            yield position, name, item

    def _take(self, position: int, made: Built | str, writer: ShardWriter) -> None:
        """Write a sample unless it is a duplicate; take note of what became of it."""
        name, _ = self._inputs[int(self._order[position])]
        if isinstance(made, str):
            self._drop(made, name)
            return
        row = SeenRow(position, name, made.fingerprint, kept=True)
        if self._judge(row):
            writer.write(made.key or sample_key(position, name), made.members)
        else:
            row = dataclasses.replace(row, kept=False)
        self._journal.see(row)
