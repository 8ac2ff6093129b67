"""Fixtures that several rooms share: small shards of both kinds, made with the project's writer."""

import os

# Before any library reads them: no network, no thread fights on small machines.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings

from rba.batch import Mode
from rba.data.sample import AlignmentRecord, RefinementRecord
from rba.data.writer import ShardWriter

# The same examples in every run, and no time limits on shared machines.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Colourful smooth noise with a few letters on it."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        place = (int(rng.integers(0, width - 20)), int(rng.integers(20, height)))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.putText(image, chr(65 + int(rng.integers(26))), place, 0, 1.0, colour, 3)
    return image


@pytest.fixture(scope="session")
def alignment_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos of 96 x 112 pixels in 3 shards."""
    folder = tmp_path_factory.mktemp("shards") / "photos"
    rng = np.random.default_rng(1)
    with ShardWriter(folder, kind=Mode.ALIGNMENT, samples_per_shard=8, settings={}) as writer:
        for index in range(20):
            record = AlignmentRecord(
                key=f"photo{index:03d}", image=picture(rng, 96, 112), mask=None, metadata={}
            )
            writer.write(record.key, record.encode())
    return folder


@pytest.fixture(scope="session")
def refinement_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pairs of 96 x 96 pixels in 2 shards; view B is view A moved by 8 pixels."""
    folder = tmp_path_factory.mktemp("shards") / "pairs"
    rng = np.random.default_rng(2)
    ys, xs = np.mgrid[4:96:8, 4:96:8]
    matches = np.stack([(xs + 8.5) / 96, (ys + 0.5) / 96, np.ones_like(xs)], axis=-1)
    matches[xs + 8 >= 96] = np.nan
    with ShardWriter(folder, kind=Mode.REFINEMENT, samples_per_shard=8, settings={}) as writer:
        for index in range(12):
            wide = picture(rng, 96, 104)
            record = RefinementRecord(
                key=f"pair{index:03d}",
                target=np.ascontiguousarray(wide[:, 8:]),
                reference=np.ascontiguousarray(wide[:, :96]),
                target_mask=None,
                reference_mask=None,
                matches=matches.astype(np.float16),
                metadata={},
            )
            writer.write(record.key, record.encode())
    return folder
