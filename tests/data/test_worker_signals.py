"""A loader worker outlives signals that ask the run to end."""

import multiprocessing
import os
import signal
import subprocess
from multiprocessing.connection import Connection

import pytest

from rba.data.worker_signals import outlive_signals


def work(pipe: Connection) -> None:
    outlive_signals()
    while True:
        pipe.send(pipe.recv())


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_only_the_main_process_ends_it(end: int) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    worker = context.Process(target=work, args=(there,), daemon=True)
    worker.start()
    assert worker.pid is not None
    here.send("started")
    assert here.recv() == "started"
    for name in ("-INT", "-USR1", "-TERM"):  # from a third process
        subprocess.run(["kill", name, str(worker.pid)], check=True)
        here.send(name)
        assert here.recv() == name
    os.kill(worker.pid, end)
    worker.join(10)
    assert worker.exitcode == (0 if end == signal.SIGTERM else -end)
