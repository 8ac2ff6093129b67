"""Shards for the loader's benchmark: real photos, views of plane objects, and made-up manifests.

The photos are crops of five inside the scikit-image wheel (public domain or CC0), at JPEG quality
95: near 88 kB at 512 pixels.
"""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from rba.batch import Mode
from rba.data.sample import AlignmentRecord, RefinementRecord, match_grid_shape
from rba.data.writer import MANIFEST_NAME, ShardWriter, index_path
from rba.geometry import project

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "retina")


class Pictures:
    """Records of both modes, each a function of its number."""

    def __init__(self, side: int) -> None:
        self.side = side
        self._photos = [getattr(skimage.data, name)() for name in PHOTOS]

    def record(self, mode: Mode, number: int) -> AlignmentRecord | RefinementRecord:
        """Make one record, as training on photos without masks and on masked views meets it."""
        rng = np.random.default_rng(number)
        photo, key = self._crop(rng), f"{number:06d}"
        facts = {"source": f"{key}.jpg", "licence": "CC0"}
        if mode is Mode.ALIGNMENT:
            return AlignmentRecord(key=key, image=photo, mask=None, metadata=facts)
        matrix = self._movement(rng)
        moved = cv2.warpPerspective(photo, matrix, photo.shape[:2], borderMode=cv2.BORDER_REFLECT)
        shape, middle = np.zeros(photo.shape[:2], np.uint8), self.side / 2
        cv2.ellipse(shape, ((middle, middle), (self.side * 0.8, self.side * 0.6), 20), 1, -1)
        return RefinementRecord(
            key=key,
            target=photo,
            reference=moved,
            target_mask=shape > 0,
            reference_mask=cv2.warpPerspective(shape, matrix, shape.shape) > 0,
            matches=_matches(matrix, shape > 0),
            metadata=facts,
        )

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        photo = self._photos[rng.integers(len(self._photos))]
        shorter = min(photo.shape[:2])
        length = int(shorter * rng.uniform(0.7, 1.0))
        y, x = (int(rng.integers(0, extent - length + 1)) for extent in photo.shape[:2])
        part = photo[y : y + length, x : x + length]
        method = cv2.INTER_AREA if length > self.side else cv2.INTER_CUBIC
        return cv2.resize(part, (self.side, self.side), interpolation=method)

    def _movement(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a homography about the middle of the view."""
        angle, scale = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(0.8, 1.2)
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        lean = rng.uniform(-0.1, 0.1, 2) / self.side
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [*lean, 1]])
        there = np.array([[1, 0, self.side / 2], [0, 1, self.side / 2], [0, 0, 1]])
        return there @ turn @ np.linalg.inv(there)


def write_shards(folder: Path, mode: Mode, side: int, samples: int, shards: int) -> Path:
    """Write a set of shards of one kind of records."""
    pictures = Pictures(side)
    per_shard = -(-samples // shards)
    with ShardWriter(folder, kind=mode, samples_per_shard=per_shard, settings={}) as writer:
        for number in range(samples):
            record = pictures.record(mode, number)
            writer.write(record.key, record.encode())
    return folder


def link_shards(source: Path, folder: Path, count: int) -> Path:
    """Make a set of ``count`` shards out of the one of ``source``: hard links under other names."""
    manifest = json.loads((source / MANIFEST_NAME).read_text())
    entry = manifest["shards"][0]
    original = source / entry["name"]
    folder.mkdir()
    entries = []
    for number in range(count):
        name = f"alignment-{number:06d}.tar"
        os.link(original, folder / name)
        os.link(index_path(original), index_path(folder / name))
        entries.append({**entry, "name": name})
    (folder / MANIFEST_NAME).write_text(json.dumps({**manifest, "shards": entries}))
    return folder


def _matches(matrix: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the match grid of a view that a homography moves."""
    side = seen.shape[0]
    rows, columns = match_grid_shape(side, side)
    y, x = np.mgrid[0:rows, 0:columns] * 8.0 + 4.5
    places = project(np.stack([x, y], axis=2), matrix) / side
    matches = np.concatenate([places, np.ones((rows, columns, 1))], axis=2)
    lost = (places < 0).any(axis=2) | (places >= 1).any(axis=2)
    inside = seen[np.minimum(y.astype(int), side - 1), np.minimum(x.astype(int), side - 1)]
    matches[lost | ~inside] = np.nan
    return matches.astype(np.float16)
