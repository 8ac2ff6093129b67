"""The exceptions that commands print without a traceback, and how they print them."""

import errno

# What a machine refuses whatever the program does: rights, space, a file where a folder is wanted.
_REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


class InputError(ValueError):
    """A user's mistake: a missing path, an unknown value, a contradiction between settings.

    The message holds the offending value and the way out. Commands print it as one line and exit
    with status 2; anything else that escapes is a bug of ours and keeps its traceback.
    """


class RunStoppedError(RuntimeError):
    """The world ended a run: bad data, storage without an answer, a process that was killed.

    Nothing of the settings need be changed to resume. The message holds the cause and the way out.
    Commands print it as one line and exit with status 3.
    """


class RunInterruptedError(RunStoppedError):
    """A signal asked a run to end, and all ranks agreed to at the end of the same step.

    Commands exit with status 75 (``EX_TEMPFAIL`` of sysexits.h: start it again).

    Attributes:
        signal_name: The signal, such as ``SIGTERM``.
    """

    def __init__(self, message: str, signal_name: str) -> None:
        super().__init__(message)
        self.signal_name = signal_name


def command_message(error: Exception) -> str | None:
    """Return the line that a command prints instead of a traceback.

    Returns:
        One line for an `InputError`, a `RunStoppedError` and what the file system refuses; None for
        anything else, which is a bug of ours and must keep its traceback.
    """
    if isinstance(error, (InputError, RunStoppedError)):
        # From a loader process it arrives inside the text of that process's traceback.
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        return " ".join(str(error).rpartition(name)[2].split())
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return f"{error.filename}: {error.strerror}; give another path"
    return None


def exit_status(error: Exception) -> int:
    """Return the status that a command leaves with after `command_message`: 2, 3 or 75."""
    if isinstance(error, RunInterruptedError):
        return 75
    return 3 if isinstance(error, RunStoppedError) else 2
