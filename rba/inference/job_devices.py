"""Jobs on several devices: a process each, which is handed the next batch when it is free."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from rba.host_memory import keep_freed_memory
from rba.inference.job_runner import JobOutputs, Outcome, run_jobs
from rba.inference.jobs import Job
from rba.inference.pipeline import RefineByAlignPipeline


def run_on_devices(
    model: str,
    devices: Sequence[torch.device],
    batches: Sequence[Sequence[Job]],
    outputs: JobOutputs,
    numbers: dict[str, Any],
) -> Iterator[Outcome]:
    """Refine batches of jobs, on one device in this process, on several in one process each.

    Args:
        model: Model directory, or the name of a shipped one.
        devices: Each opens the model once.
        batches: A batch goes to the device that is free.
        outputs: Where results go.
        numbers: Settings beside the calibrated ones (`RefineByAlignPipeline.settings`).

    Yields:
        One outcome a job, in no order. Jobs that a process took with it when it was killed have
        failed; the other processes go on.
    """
    if len(devices) == 1:
        pipeline = RefineByAlignPipeline.open(model).to(devices[0])
        yield from run_jobs(pipeline, batches, outputs, pipeline.settings(**numbers))
        return
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            options = (model, device, theirs, outputs, numbers, len(devices))
            process = context.Process(target=_work, args=options, daemon=True)
            process.start()
            theirs.close()  # so that its end is seen here as the end of the connection
            workers.append(_Worker(device, process, ours))
        yield from _hand_out(workers, list(batches)[::-1])
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


class _Worker:
    """A process, its end of the line, and the jobs that it holds."""

    def __init__(self, device: torch.device, process: Any, line: Connection) -> None:
        self.device = device
        self.process = process
        self.line = line
        self.held: list[list[str]] = []  # ids, a list a batch
        self.told_end = False

    def give(self, waiting: list[Sequence[Job]]) -> None:
        """Keep it two batches ahead: one is read while the other is refined."""
        while waiting and len(self.held) < 2:
            batch = waiting.pop()
            self.held.append([job.id for job in batch])
            self.line.send(batch)
        if not waiting and not self.told_end:  # it asks for the next before it refines the last
            self.told_end = True
            self.line.send(None)

    def finish(self, job_id: str) -> None:
        """Take a finished job off its list."""
        self.held = [
            left for ids in self.held if (left := [name for name in ids if name != job_id])
        ]


def _hand_out(workers: list[_Worker], waiting: list[Sequence[Job]]) -> Iterator[Outcome]:
    """Give out the batches from the end of ``waiting``; yield what comes back."""
    alive = {worker.line: worker for worker in workers}
    ended = ""
    while alive:
        for worker in alive.values():
            with contextlib.suppress(BrokenPipeError):  # its end is read below
                worker.give(waiting)
        busy = [line for line, worker in alive.items() if worker.held]
        if not busy:
            return
        for line in wait(busy):
            worker = alive[line]  # type: ignore[index]
            try:
                outcome = worker.line.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                ended = (
                    f"the process on {worker.device} ended (exit code {worker.process.exitcode})"
                )
                for job_id in (name for ids in worker.held for name in ids):
                    yield Outcome(id=job_id, error=ended)
                del alive[worker.line]
                continue
            worker.finish(outcome.id)
            yield outcome
    for batch in waiting[::-1]:
        for job in batch:
            yield Outcome(id=job.id, error=f"no process is left; the last: {ended}")


def _work(
    model: str,
    device: torch.device,
    line: Connection,
    outputs: JobOutputs,
    numbers: dict[str, Any],
    num_processes: int,
) -> None:
    keep_freed_memory()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    with contextlib.suppress(KeyboardInterrupt):  # the parent says it once
        pipeline = RefineByAlignPipeline.open(model).to(device)
        for outcome in run_jobs(
            pipeline, iter(line.recv, None), outputs, pipeline.settings(**numbers)
        ):
            line.send(outcome)
