import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rba.batch import Mode
from rba.data.recipe import Recipe
from rba.data.sample import AlignmentRecord, RefinementRecord, match_grid_shape
from rba.data.writer import ShardWriter


def smooth_picture(height, width, seed=0):
    """A picture whose pixels can be told apart and that JPEG keeps well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        128
        + 100 * np.sin(x / rng.uniform(4, 12) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(4, 12))
        for _ in range(3)
    ]
    return np.clip(np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def blob_mask(rng, height, width, inside):
    """A square of a sixth of the side, centred on an allowed pixel: the tests' mask source."""
    allowed = np.ones((height, width), bool) if inside is None else inside
    places = np.argwhere(allowed)
    row, column = places[rng.integers(len(places))]
    half = max(1, height // 12)
    mask = np.zeros((height, width), bool)
    mask[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = True
    return mask & allowed


def identity_matches(height, width, shift=(0.0, 0.0), reference=None):
    """Matches of a reference that shows the target moved by ``shift`` pixels."""
    reference = reference or (height, width)
    rows, columns = match_grid_shape(height, width)
    y, x = np.mgrid[0:rows, 0:columns] * 8.0 + 4.5
    u, v = (x + shift[0]) / reference[1], (y + shift[1]) / reference[0]
    matches = np.stack([u, v, np.ones_like(u)], axis=2)
    outside = (u < 0) | (u >= 1) | (v < 0) | (v >= 1) | (x >= width) | (y >= height)
    matches[outside] = np.nan
    return matches.astype(np.float16)


def alignment_record(number):
    return AlignmentRecord(
        key=f"{number:04d}", image=smooth_picture(48, 56, number), mask=None,
        metadata={"source": f"photo {number}.jpg"},
    )  # fmt: skip


def refinement_record(number):
    picture = smooth_picture(48, 48, number)
    return RefinementRecord(
        key=f"{number:04d}", target=picture, reference=np.roll(picture, (8, 0), (0, 1)),
        target_mask=None, reference_mask=None, matches=identity_matches(48, 48, (0.0, 8.0)),
        metadata={"object": str(number)},
    )  # fmt: skip


def write_shards(folder: Path, mode: Mode, count: int, samples_per_shard: int = 5) -> Path:
    make = alignment_record if mode is Mode.ALIGNMENT else refinement_record
    with contextlib.ExitStack() as stack:
        writer = ShardWriter(
            folder, kind=mode, samples_per_shard=samples_per_shard, settings={"tool": "test"}
        )
        stack.enter_context(writer)
        for number in range(count):
            record = make(number)
            writer.write(record.key, record.encode())
    return folder


@pytest.fixture(scope="session")
def alignment_folder(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("photos"), Mode.ALIGNMENT, 23)


@pytest.fixture(scope="session")
def refinement_folder(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("pairs"), Mode.REFINEMENT, 13)


@pytest.fixture
def recipe():
    return Recipe(image_size=64, reference_size=64, masks=blob_mask, seed=3, namespace="alignment")


@pytest.fixture
def make():
    """What tests build their own inputs with."""

    class Make:
        picture = staticmethod(smooth_picture)
        blob_mask = staticmethod(blob_mask)
        matches = staticmethod(identity_matches)
        alignment_record = staticmethod(alignment_record)
        refinement_record = staticmethod(refinement_record)
        shards = staticmethod(write_shards)

    return Make


@pytest.fixture
def as_nobody():
    """A folder that anyone may read, and how to run something in it without root's rights."""

    def run(function):
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            return function()
        finally:
            os.seteuid(user)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder, run
