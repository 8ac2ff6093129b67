"""Exact and near duplicates of what came before, in memory that a million pictures fit in."""

from array import array
from itertools import pairwise

import numpy as np

from rba.data.build.built import Fingerprint
from rba.errors import InputError

EXACT, NEAR = "exact duplicate", "near duplicate"
MOST_BITS = 16  # a wider search would have to look at nearly everything
_BITS = 64


class DuplicateIndex:
    """Say of each picture whether one before it is the same or nearly so.

    A duplicate counts as seen as well, so whether a picture is one depends on those before it only,
    not on which of them were kept. Sets that were searched each by itself can therefore be searched
    together later, with the result of one search.

    Two hashes that differ in at most ``distance`` bits agree in at least one of ``distance + 1``
    bands of bits: only the hashes of equal bands are compared.

    Args:
        distance: Bits in which the hashes of near duplicates differ at most; -1 = search for
            no duplicates.

    Raises:
        InputError: If the distance is out of its range.
    """

    def __init__(self, distance: int) -> None:
        if not -1 <= distance <= MOST_BITS:
            raise InputError(f"near_distance={distance}; give 0 to {MOST_BITS} bits, or -1 for off")
        self.distance = distance
        self._digests: set[bytes] = set()
        self._hashes: set[int] = set()
        bands = distance + 1
        self._edges = [_BITS * band // bands for band in range(bands + 1)] if bands else []
        self._buckets: dict[tuple[int, int], array[int]] = {}

    def add(self, fingerprint: Fingerprint) -> str | None:
        """Take note of a picture; return why it is a duplicate of an earlier one, or None."""
        if self.distance < 0:
            return None
        digest, value = bytes.fromhex(fingerprint.digest), fingerprint.perceptual
        exact = digest in self._digests
        near = exact or value in self._hashes or self._is_near(value)
        self._digests.add(digest)
        if value not in self._hashes:
            self._hashes.add(value)
            for band in self._bands(value):
                self._buckets.setdefault(band, array("Q")).append(value)
        return EXACT if exact else NEAR if near else None

    def _is_near(self, value: int) -> bool:
        wanted = np.uint64(value)
        for band in self._bands(value):
            bucket = self._buckets.get(band)
            if bucket is not None:
                differing = np.bitwise_count(np.frombuffer(bucket, np.uint64) ^ wanted)
                if differing.min() <= self.distance:
                    return True
        return False

    def _bands(self, value: int) -> list[tuple[int, int]]:
        edges = self._edges
        return [(low, value >> low & (1 << high - low) - 1) for low, high in pairwise(edges)]
