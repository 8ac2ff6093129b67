"""The one exception that commands print without a traceback."""


class InputError(ValueError):
    """A user's mistake: a missing path, an unknown value, a contradiction between settings.

    The message holds the offending value and the way out. Commands print it as one line and exit
    with status 2; anything else that escapes is a bug of ours and keeps its traceback.
    """
