"""The one exception that commands print without a traceback, and how they print it."""

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


def command_message(error: Exception) -> str | None:
    """Return the line that a command prints instead of a traceback.

    Returns:
        One line for an `InputError` and for what the file system refuses; None for anything else,
        which is a bug of ours and must keep its traceback.
    """
    if isinstance(error, InputError):
        # From a loader process it arrives inside the text of that process's traceback.
        return " ".join(str(error).rpartition("rba.errors.InputError: ")[2].split())
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return f"{error.filename}: {error.strerror}; give another path"
    return None
