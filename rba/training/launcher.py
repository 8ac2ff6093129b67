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
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

_POLL = 0.2  # seconds


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
            self._call_children_scripts()
            threading.Thread(target=self._watch, daemon=True, name="rank-watch").start()
        return function(*args, **kwargs)

    def _watch(self) -> None:
        while not self._tell_of_the_dead():
            if all(process.poll() == 0 for process in self.procs):
                return
            time.sleep(_POLL)
        deadline = time.monotonic() + (self.grace if torch.distributed.is_initialized() else 0)
        while time.monotonic() < deadline:  # this thread ends with the process
            time.sleep(_POLL)
        self.kill(signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def _tell_of_the_dead(self) -> bool:
        dead = [(rank, process) for rank, process in enumerate(self.procs, 1) if process.poll()]
        for rank, process in dead:
            text = f"error: local rank {rank} (process {process.pid}) {_how(process.returncode)}\n"
            sys.stderr.write(text)
            sys.stderr.flush()
        return bool(dead)


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL: most likely the machine's memory ran out"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"left with status {status}; its own message tells why"
