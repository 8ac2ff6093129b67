"""Run a list of jobs on one device: batches, a result file a job, and no job stops another."""

import dataclasses
import hashlib
import json
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rba.case import Case
from rba.errors import InputError
from rba.inference.images import ImageResult
from rba.inference.intermediates import image_facts, save_image_intermediates
from rba.inference.jobs import Job
from rba.inference.original import write_like
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest, RefinementSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobOutputs:
    """Where the results of a list of jobs go, and what they were made with.

    Attributes:
        folder: Gets ``ID.png`` and ``ID.json`` of each job.
        intermediates: Gets a folder a job with map, masks, crops and panel; None = nowhere.
        made_with: Digest of model and settings; a result of another is made anew.
    """

    folder: Path
    intermediates: Path | None
    made_with: str

    def image(self, job: Job) -> Path:
        """The refined image of a job."""
        return self.folder / f"{job.id}.png"

    def facts(self, job: Job) -> Path:
        """The result file of a job; it is written last."""
        return self.folder / f"{job.id}.json"

    def done(self, job: Job) -> bool:
        """Whether a job's result is there and was made of these inputs, model and settings."""
        try:
            facts = json.loads(self.facts(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False  # none yet, or half a file of a full disk: the job is done again
        if not isinstance(facts, dict) or facts.get("status") != "done":
            return False
        return facts.get("fingerprint") == self.fingerprint(job) and self.image(job).is_file()

    def fingerprint(self, job: Job) -> str:
        """Digest of a job's inputs by name, size and time of change, of model and settings."""
        states = [(str(path), *_state(path)) for path in job.files]
        return hashlib.sha256(json.dumps([self.made_with, states]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one job ended; ``error`` is None where it was refined."""

    id: str
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class _Read:
    """A job's case, or why it could not be read, and the fingerprint of what was read."""

    job: Job
    case: Case | Exception
    fingerprint: str


def run_jobs(
    pipeline: RefineByAlignPipeline,
    jobs: Iterable[Sequence[Job]],
    outputs: JobOutputs,
    settings: RefinementSettings,
) -> Iterator[Outcome]:
    """Refine batches of jobs; the next batch is read while the network computes.

    Args:
        pipeline: On its device.
        jobs: Batches; a job's noise depends on the seed alone, not on its place.
        outputs: Where results go. Each file is renamed into place when it is whole.
        settings: Of both stages.

    Yields:
        One outcome a job, when its result is on disk. A job that fails leaves a result file with
        ``"status": "failed"`` and its error; the others go on.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting: Future[list[_Read]] | None = None
        for batch in jobs:
            following = reader.submit(_read_batch, batch, outputs)
            if waiting is not None:
                yield from _refine_batch(pipeline, waiting.result(), outputs, settings)
            waiting = following
        if waiting is not None:
            yield from _refine_batch(pipeline, waiting.result(), outputs, settings)


def _read_batch(jobs: Sequence[Job], outputs: JobOutputs) -> list[_Read]:
    read: list[_Read] = []
    for job in jobs:
        fingerprint = outputs.fingerprint(job)  # before: a file that changes later is done again
        try:
            read.append(_Read(job, job.read(), fingerprint))
        except Exception as error:  # told in the job's result file, see `_failed`
            read.append(_Read(job, error, fingerprint))
    return read


def _refine_batch(
    pipeline: RefineByAlignPipeline,
    read: Sequence[_Read],
    outputs: JobOutputs,
    settings: RefinementSettings,
) -> Iterator[Outcome]:
    """Refine what could be read together; where that fails, one by one to find the bad one."""
    for item in read:
        if isinstance(item.case, Exception):
            yield _failed(item.job, item.case, outputs)
    readable = [(item, item.case) for item in read if isinstance(item.case, Case)]
    results: Sequence[ImageResult] = ()
    if len(readable) > 1:
        try:
            results = _refine(pipeline, [case for _, case in readable], settings)
        except Exception:  # raised again below by the job that causes it
            results = ()
    for index, (item, case) in enumerate(readable):
        try:
            result = results[index] if results else _refine(pipeline, [case], settings)[0]
            _write(item, case, result, outputs)
        except Exception as error:
            yield _failed(item.job, error, outputs)
        else:
            yield Outcome(id=item.job.id)


def _refine(
    pipeline: RefineByAlignPipeline, cases: Sequence[Case], settings: RefinementSettings
) -> Sequence[ImageResult]:
    return pipeline.refine_images([RefinementRequest(case=case) for case in cases], settings)


def _write(item: _Read, case: Case, result: ImageResult, outputs: JobOutputs) -> None:
    job = item.job
    changed = result.feather_mask() > 0
    reduced = write_like(outputs.image(job), result.image, changed, job.image)
    if outputs.intermediates is not None:
        folder = outputs.intermediates / job.id
        folder.mkdir(parents=True, exist_ok=True)
        save_image_intermediates(folder, case, result)
    facts = {
        "id": job.id,
        "status": "done",
        "image": str(job.image),
        "output": outputs.image(job).name,
        "colour_depth_reduced": reduced,
        **image_facts(case, result),
        "fingerprint": item.fingerprint,
    }
    _write_facts(outputs.facts(job), facts)


def _failed(job: Job, error: Exception, outputs: JobOutputs) -> Outcome:
    """Write the failure beside the results; a mistake in one line, a bug with its traceback."""
    message = " ".join(str(error).split()) or type(error).__name__
    facts: dict[str, object] = {"id": job.id, "status": "failed", "image": str(job.image)}
    facts["error"] = message
    if not isinstance(error, InputError | OSError):
        message = f"{type(error).__name__}: {message}"
        facts |= {"error": message, "traceback": "".join(traceback.format_exception(error))}
    _write_facts(outputs.facts(job), facts)
    return Outcome(id=job.id, error=message)


def _write_facts(path: Path, facts: dict[str, object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1  # missing: reading it will say so
    return status.st_size, status.st_mtime_ns
