"""A loader worker lives as long as its run: signals to a whole job do not end it."""

import os
import signal
import threading


def outlive_signals() -> None:
    """Let SIGINT and SIGUSR1 pass, and SIGTERM unless the main process sent it.

    A terminal and SLURM send their signals to all processes of a run. The main process ends at a
    step's end, for which it may still need a batch.
    """
    for signum in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(main_process: int) -> None:
    """Wait for the SIGTERM that `DataLoader` sends; a handler would not know the sender."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main_process:
        pass
    os._exit(0)
