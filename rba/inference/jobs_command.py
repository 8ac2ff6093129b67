"""``rba refine --jobs``: many images, with a progress bar; goes on where it was stopped."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rba.errors import InputError
from rba.inference.command import choose_device, make_folder
from rba.inference.job_devices import run_on_devices
from rba.inference.job_runner import JobOutputs, Outcome
from rba.inference.jobs import Job, read_jobs
from rba.inference.request import RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.models.shipped import resolve_model

_SHOWN = 5  # failures that are told in the terminal; the result files have all


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobsCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory, or the name of a shipped one.
        jobs: List of jobs, see `rba.inference.jobs.read_jobs`.
        output: Folder of the results.
        save_intermediates: Folder that gets a folder a job, or None.
        steps: Sampler steps.
        guidance_scale: Classifier-free guidance.
        seed: Keys the noise, the same for every job.
        batch_size: Images that go through the network together.
        device: ``auto``, a torch device, or several between commas.
    """

    model: str
    jobs: str
    output: str
    save_intermediates: str | None = None
    steps: int = 50
    guidance_scale: float = 5.0
    seed: int = 0
    batch_size: int = 4
    device: str = "auto"


def run_jobs_command(command: JobsCommand) -> None:
    """Refine what is not done yet and say how it went.

    Raises:
        InputError: For mistakes in paths and options, before a model is opened; at the end, where
            jobs failed.
    """
    numbers: dict[str, Any] = {
        "seed": command.seed,
        "batch_size": command.batch_size,
        "sampler": SamplerSettings(
            num_inference_steps=command.steps, guidance_scale=command.guidance_scale
        ),
    }
    RefinementSettings(**numbers)  # refuses unfit ones before the model is opened
    devices = [choose_device(name.strip()) for name in command.device.split(",")]
    jobs = read_jobs(command.jobs)
    outputs = _prepare(command, jobs, numbers)
    waiting = [job for job in jobs if not outputs.done(job)]
    done = len(jobs) - len(waiting)
    if done:
        print(f"{done} of {len(jobs)} jobs are done already")
    size = command.batch_size
    batches = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    outcomes = run_on_devices(command.model, devices, batches, outputs, numbers) if batches else ()
    _finish(_follow(outcomes, done, len(jobs)), len(jobs), outputs)


def _prepare(command: JobsCommand, jobs: Sequence[Job], numbers: dict[str, Any]) -> JobOutputs:
    """Make the folders; refuse outputs that would replace inputs."""
    folder = Path(command.output)
    intermediates = Path(command.save_intermediates) if command.save_intermediates else None
    made_with = json.dumps([_model_state(resolve_model(command.model)), repr(numbers)])
    outputs = JobOutputs(
        folder=folder,
        intermediates=intermediates,
        made_with=hashlib.sha256(made_with.encode()).hexdigest(),
    )
    inputs = {path.resolve() for job in jobs for path in job.files}
    for job in jobs:
        if outputs.image(job).resolve() in inputs:
            raise InputError(
                f"--output {folder}: the result of job {job.id} would replace an input, "
                f"{outputs.image(job)}; give another folder"
            )
    make_folder(folder, "--output")
    if intermediates is not None:
        make_folder(intermediates)
    return outputs


def _model_state(folder: Path) -> list[list[object]]:
    """Return what changes when a model does: its files' names, sizes and times."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    if not files:
        raise InputError(f"{folder} is no model directory; give one made by `rba export`")
    states = [(path, path.stat()) for path in files]
    return [
        [path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns]
        for path, state in states
    ]


def _follow(outcomes: Iterable[Outcome], done: int, total: int) -> list[Outcome]:
    """Show the progress; return the failed."""
    failed: list[Outcome] = []
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file gets few lines
    with tqdm(
        total=total, initial=done, unit="image", mininterval=interval, dynamic_ncols=True
    ) as bar:
        for outcome in outcomes:
            if outcome.error is not None:
                failed.append(outcome)
                bar.set_postfix(failed=len(failed), refresh=False)
            bar.update()
    return failed


def _finish(failed: Sequence[Outcome], total: int, outputs: JobOutputs) -> None:
    print(f"{total - len(failed)} of {total} jobs are in {outputs.folder}")
    if not failed:
        return
    for outcome in failed[:_SHOWN]:
        print(f"failed: {outcome.id}: {outcome.error}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"... and {len(failed) - _SHOWN} more", file=sys.stderr)
    raise InputError(
        f"{len(failed)} of {total} jobs failed; {outputs.folder}/ID.json has each error; mend them "
        "and give the same command again: it does only what is missing"
    )
