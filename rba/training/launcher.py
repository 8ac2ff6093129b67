"""Start a machine's processes; where one dies, say which and by what, and end the others."""

# Lightning's launcher has no public name.
# pyright: reportPrivateUsage=false

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

_POLL = 0.2  # seconds
_FIRST = "RBA_FIRST_PROCESS"  # tells the children who started them
_LEAVE = 10.0  # seconds in which a process without a process group may still end by itself


class WatchingLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher with another watch over its processes.

    Lightning's own kills all within 5 s and tells no cause; the first process could not save the
    last whole step.

    Args:
        environment: As Lightning made it.
        num_processes: Of this machine.
        num_nodes: Machines.
        grace: Seconds that the first process gets to save and leave after another one died. Before
            the processes have met there is nothing to save, and it is ended at once.
    """

    def __init__(self, environment: Any, num_processes: int, num_nodes: int, grace: float) -> None:
        super().__init__(environment, num_processes, num_nodes)
        self.grace = grace

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        """Start the other processes of this machine, then call the function."""
        del trainer
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_FIRST] = str(os.getpid())
            self._call_children_scripts()
            self._start(self._watch)
        elif _FIRST in os.environ and isinstance(self.cluster_environment, LightningEnvironment):
            # One of its children. It may have died while this one was still importing.
            self._start(self._watch_first, int(os.environ[_FIRST]))
        return function(*args, **kwargs)

    @staticmethod
    def _start(watch: Callable[..., None], *args: int) -> None:
        threading.Thread(target=watch, args=args, daemon=True, name="rank-watch").start()

    def _watch_first(self, first: int) -> None:
        """End with the first process: one that waits to meet it would do so for long."""
        while os.getppid() == first:
            time.sleep(_POLL)
        _sleep_until(self._deadline(_LEAVE))  # this thread ends with the process
        sys.stderr.write(f"error: the process of local rank 0 ({first}) is gone\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def _deadline(self, without_group: float) -> float:
        grace = self.grace if torch.distributed.is_initialized() else without_group
        return time.monotonic() + grace

    def _watch(self) -> None:
        while not self._tell_of_the_dead():
            if all(process.poll() == 0 for process in self.procs):
                return
            time.sleep(_POLL)
        _sleep_until(self._deadline(0.0))
        self.kill(signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def _tell_of_the_dead(self) -> bool:
        dead = [(rank, process) for rank, process in enumerate(self.procs, 1) if process.poll()]
        for rank, process in dead:
            text = f"error: local rank {rank} (process {process.pid}) {_how(process.returncode)}\n"
            sys.stderr.write(text)
            sys.stderr.flush()
        return bool(dead)


def _sleep_until(deadline: float) -> None:
    while time.monotonic() < deadline:
        time.sleep(_POLL)


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL: most likely the machine's memory ran out"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"left with status {status}; its own message tells why"
