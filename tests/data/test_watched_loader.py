import os
import signal
import time

import pytest
from torch.utils.data import Dataset

from rba.data.stream import start_worker
from rba.data.watched_loader import DeadWorkerError, WatchedLoader
from rba.errors import RunStoppedError, command_message, exit_status


class Dying(Dataset):
    """Item n is (n, process); item 5 does what it is told."""

    def __init__(self, end):
        self.end = end

    def __getitem__(self, number):
        if number == 5:
            self.end()
        return number, os.getpid()


def kill(number):
    return lambda: os.kill(os.getpid(), number)


def fail(error):
    def end():
        raise error

    return end


def load(end, workers=2):
    return WatchedLoader(
        Dying(end), batch_size=None, sampler=range(100), num_workers=workers,
        worker_init_fn=start_worker, collate_fn=lambda item: item,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "named"),
    [
        (kill(signal.SIGKILL), "was killed by SIGKILL: most likely the machine's memory ran out"),
        (kill(signal.SIGSEGV), "was killed by SIGSEGV: a decoder crashed"),
        (kill(signal.SIGBUS), "was killed by SIGBUS: a shard was cut off"),
        (lambda: os._exit(7), "left with status 7"),
    ],
)
def test_a_dead_worker_is_named_with_its_cause(end, named):
    got = []
    with pytest.raises(DeadWorkerError, match=named) as caught:
        got.extend(number for number, _ in load(end))
    assert got == list(range(len(got)))
    assert len(got) <= 5
    assert "loader worker 1 of 2 (process " in str(caught.value)
    assert exit_status(caught.value) == 3


def test_memory_that_runs_out_within_a_worker():
    with pytest.raises(DeadWorkerError, match=r"fewer data\.num_workers"):
        list(load(fail(MemoryError())))


class GoneError(RunStoppedError):
    pass


def test_an_error_of_a_worker_keeps_its_class_and_is_told_in_one_line():
    with pytest.raises(GoneError) as caught:
        list(load(fail(GoneError("no answer from\nhost x"))))
    assert command_message(caught.value) == "no answer from host x"
    with pytest.raises(KeyError, match="a bug"):
        list(load(fail(KeyError("a bug"))))


def test_a_worker_that_dies_in_the_middle_of_a_step_ends_the_next_wait():
    loader = iter(load(lambda: None))
    _, process = next(loader)
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # torch's own handler would raise here
        time.sleep(0.01)
    with pytest.raises(DeadWorkerError, match="SIGKILL"):
        next(loader)


def test_without_workers_it_is_a_plain_loader():
    assert [number for number, _ in load(lambda: None, 0)] == list(range(100))
