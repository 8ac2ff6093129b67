import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rba.batch import Mode
from rba.data.build import BuildJob, Built, DroppedError, Fingerprint


def picture(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """Coloured clouds, different enough for each seed to be no near duplicate."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


class Loader:
    """Number n is a sample of its own; every seventh is dropped, ``twins`` repeat another."""

    def __init__(self, twins: dict[int, int] | None = None, stop_at: int = -1) -> None:
        self.twins = twins or {}
        self.stop_at = stop_at
        self.calls = 0

    def __call__(self, item: int, key: str) -> Built:
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        if item % 7 == 3:
            raise DroppedError("seventh")
        motive = self.twins.get(item, item)
        digits = np.random.default_rng(motive).bytes(16)
        fingerprint = Fingerprint(digits.hex(), int.from_bytes(digits[:8], "big"))
        members = {"jpg": digits * (1 + item % 40), "json": b"{}"}
        return Built(members, fingerprint)


def numbers(count: int) -> list[tuple[str, int]]:
    return [(f"photo {n}.jpg", n) for n in range(count)]


def job(**changes) -> BuildJob:
    usual = {"kind": Mode.ALIGNMENT, "settings": {"near_distance": 3}, "samples_per_shard": 4}
    return BuildJob(**{**usual, "near_distance": 3, "workers": 1, **changes})


def shards(folder: Path) -> dict[str, bytes]:
    """The bytes of all shards, indices and the manifest."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "build_report.json"
    }


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def made():
    """What these tests build."""

    class Made:
        loader = Loader
        numbers = staticmethod(numbers)
        job = staticmethod(job)
        shards = staticmethod(shards)
        picture = staticmethod(picture)

    return Made
