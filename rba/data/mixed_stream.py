"""One mode's stream over several shard sets, each with an order and epochs of its own."""

from collections.abc import Sequence

from rba.batch import Example
from rba.data.mixture import Mixture
from rba.data.mode_stream import ModeStream


class MixedStream:
    """Examples by position; the mixture alone says which set a position takes.

    Every set's own positions 0, 1, 2 ... come in turn, so each of its epochs has each of its
    samples once. Parts (see `SampleOrder`) mix alike: part j of the stream reads part j of a set.

    Args:
        streams: One a set; all orders have equally many parts.
        mixture: Its weights belong to ``streams``.
    """

    def __init__(self, streams: Sequence[ModeStream], mixture: Mixture) -> None:
        assert len(streams) == len(mixture), (len(streams), len(mixture))
        self.streams = tuple(streams)
        self.mixture = mixture
        (self._parts,) = {stream.order.parts for stream in streams}

    def example(self, position: int) -> Example:
        """Return the example at a position; the position is also its draw number."""
        turn, part = divmod(position, self._parts)
        number, before = self.mixture.place(turn)
        return self.streams[number].example(before * self._parts + part, position)
