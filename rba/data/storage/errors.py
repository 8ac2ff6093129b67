"""What happens when bytes do not come. Bytes that came and are bad are a `RecordError` instead."""

from rba.errors import RunStoppedError


class StorageError(RunStoppedError):
    """The network or a file system failed for longer than the set time: a run stops, and resumes.

    Never a reason to replace a sample, so that the order of samples does not depend on the network.
    """


class NoAnswerError(OSError):
    """A file system gave no usable answer this time; asking again may help."""
