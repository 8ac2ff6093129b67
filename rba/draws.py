"""Random numbers as a pure function of (seed, purpose, mode, draw number).

Slot ``j`` of a mode's ``k``-th batch has the global draw number ``k * global_batch + j``. Whatever
is random about that slot comes from a generator keyed by this number, so it is the same on any
number of ranks, loader workers and micro-batches, and no random state has to be saved.
"""

import hashlib

import numpy as np


def keyed_generator(seed: int, purpose: str, mode: str, draw: int) -> np.random.Generator:
    """Return an independent generator for one purpose of one draw.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for, for example ``"noise"``, ``"timestep"``, ``"mask"``.
        mode: The training mode (``Mode`` is a string) or another namespace.
        draw: Global draw number, >= 0.

    Returns:
        A Philox generator; equal arguments give equal streams on every platform.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{mode}/{draw}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
