"""The watch over a machine's processes."""

import os
import signal
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment

from rba.training.launcher import WatchingLauncher


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Signals that the watch sends to the first process, which is this one."""
    sent: list[tuple[int, int]] = []
    kill = os.kill

    def send(process: int, signum: int) -> None:
        if process == os.getpid():
            sent.append((process, signum))
        else:
            kill(process, signum)

    monkeypatch.setattr(os, "kill", send)
    return sent


def watch(*statuses: str) -> WatchingLauncher:
    environment: Any = SimpleNamespace()
    launcher = WatchingLauncher(environment, 1 + len(statuses), 1, grace=60.0)
    launcher.procs = [subprocess.Popen(["sh", "-c", command]) for command in statuses]
    launcher._watch()  # pyright: ignore
    return launcher


def test_a_killed_rank_is_named_with_its_cause_and_ends_the_others(
    ended: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = watch("sleep 30", "kill -KILL $$")
    assert ended == [(os.getpid(), signal.SIGKILL)]  # no process group: nothing to save
    assert launcher.procs[0].wait(timeout=10) == -signal.SIGKILL
    told = capfd.readouterr().err
    assert f"error: local rank 2 (process {launcher.procs[1].pid}) was killed by SIGKILL" in told
    assert "rank 1 " not in told


def test_one_that_failed_is_named_too(
    ended: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    watch("exit 3")
    assert len(ended) == 1
    assert "left with status 3; its own message tells why" in capfd.readouterr().err


def test_an_end_of_all_is_no_fault(
    ended: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    watch("exit 0", "exit 0")
    assert ended == []
    assert capfd.readouterr().err == ""


def test_a_child_ends_with_the_first_process(
    ended: list[tuple[int, int]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rba.training.launcher._LEAVE", 0.0)
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    environment: Any = SimpleNamespace()
    WatchingLauncher(environment, 2, 1, grace=60.0)._watch_first(7)  # pyright: ignore
    assert ended == [(os.getpid(), signal.SIGKILL)]
    assert "the process of local rank 0 (7) is gone" in capfd.readouterr().err


def test_a_child_whose_first_process_died_before_it_began_ends_too(
    ended: list[tuple[int, int]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Importing takes seconds: by then another process may be its parent."""
    monkeypatch.setattr("rba.training.launcher._LEAVE", 0.0)
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv("RBA_FIRST_PROCESS", str(gone.pid))
    monkeypatch.setenv("LOCAL_RANK", "1")
    launcher = WatchingLauncher(LightningEnvironment(), 2, 1, grace=60.0)
    watches: list[Any] = []
    monkeypatch.setattr(launcher, "_start", lambda watch, *given: watches.append((watch, given)))
    assert launcher.launch(lambda: "trained") == "trained"
    ((watch, given),) = watches
    watch(*given)
    assert ended == [(os.getpid(), signal.SIGKILL)]
    assert f"the process of local rank 0 ({gone.pid}) is gone" in capfd.readouterr().err
