"""How fast photos become alignment shards, against a loop that does nothing but the codec's work.

python benchmarks/build.py [--images DIR] [--count 20] [--rounds 5]

The bare loop reads, decodes, resizes by area and encodes with OpenCV, one thread. The builder does
the same with one worker, and judges, hashes, searches duplicates and writes shards. Both take turns
and are timed in processor seconds, so that other work on the machine matters little. Without
``--images`` the photos are mosaics of those inside the scikit-image wheel: larger than the bound
of 1,024 pixels, so that all are encoded anew, and smaller, so that all are stored as they are.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import simplejpeg
import skimage.data
from turns import keep, rates, show, take_turns

from rba.batch import Mode
from rba.data import photo_decode, photos
from rba.data.build import BuildJob, build_shards
from rba.data.build.built import Fingerprint
from rba.data.photo_lists import list_photos
from rba.data.writer import ShardWriter

LONGEST, QUALITY = 1024, 95
WIDTHS = (3000, 1920, 1280, 1100, 640)
STEPS: tuple[tuple[str, Any, str], ...] = (
    ("read", photos, "read_file"),
    ("look at the header", photos, "read_header"),
    ("decode", simplejpeg, "decode_jpeg"),
    ("resize", photo_decode, "resize"),
    ("judge", photos.PhotoLoader, "_judge"),
    ("hash", Fingerprint, "of"),
    ("encode", photos, "encode_jpeg"),
    ("write shards", ShardWriter, "write"),
)


def make_photos(folder: Path, count: int, width: int) -> None:
    """Write mosaics of real photos, each another one."""
    names = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")
    tiles = [getattr(skimage.data, name)() for name in names]
    height = width * 3 // 4
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = np.zeros((height, width, 3), np.uint8)
        for y in range(0, height, 240):
            for x in range(0, width, 320):
                tile = tiles[rng.integers(len(tiles))]
                top = rng.integers(0, tile.shape[0] - 240)
                left = rng.integers(0, tile.shape[1] - 320)
                part = tile[top : top + 240, left : left + 320][: height - y, : width - x]
                picture[y : y + 240, x : x + 320] = part
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), picture[..., ::-1], quality)


def bare_loop(paths: Sequence[Path]) -> None:
    """Read, decode, resize and encode alone."""
    for path in paths:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        scale = min(1.0, LONGEST / max(image.shape[:2]))
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def build(images: Path, out: Path) -> None:
    """Build shards with one worker."""
    found = list_photos(str(images))
    limits = photos.PhotoLimits(
        longest_side=LONGEST, shortest_side=16, quality=QUALITY, min_sharpness=1, min_contrast=1
    )
    job = BuildJob(kind=Mode.ALIGNMENT, settings={}, near_distance=6, workers=1, overwrite=True)
    loader = photos.PhotoLoader(found.root, limits)
    with contextlib.redirect_stdout(io.StringIO()):
        build_shards(found, loader, str(out), job)


@contextlib.contextmanager
def measured(spent: dict[str, float]) -> Generator[None]:
    """Time the steps of the builder."""
    with contextlib.ExitStack() as stack:
        for name, owner, attribute in STEPS:
            timed = _timed(getattr(owner, attribute), name, spent)
            made = staticmethod(timed) if owner is Fingerprint else timed
            stack.enter_context(mock.patch.object(owner, attribute, made))
        yield


def _timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.process_time() - started

    return run


def report(images: Path, out: Path, rounds: int) -> dict[str, Any]:
    """Measure one folder: rates in turns, then the share of each of the builder's steps."""
    paths = sorted(path for path in images.rglob("*.jpg"))
    loops = {"ours": lambda: build(images, out), "bare": lambda: bare_loop(paths)}
    found = rates(take_turns(loops, rounds), len(paths))
    show(f"{len(paths)} JPEGs of {images.name}", found, "images/s")
    spent: dict[str, float] = defaultdict(float)
    started = time.process_time()
    with measured(spent):
        build(images, out)
    total = time.process_time() - started
    shares = {name: spent[name] / total for name, _, _ in STEPS}
    shares["other"] = 1 - sum(shares.values())
    print("  " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    megapixels = sum(np.prod(cv2.imread(str(path)).shape[:2]) for path in paths) / len(paths) / 1e6
    return {"photos": len(paths), "megapixels": float(megapixels), **found, "shares": shares}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="alignment shards against a bare loop")
    parser.add_argument("--images", type=Path, help="a folder of JPEGs instead of mosaics")
    parser.add_argument("--count", type=int, default=20, help="number of the largest mosaics")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.images is not None:
            report(args.images, folder / "out", args.rounds)
            return
        cases = []
        for width in WIDTHS:
            images = folder / f"{width} pixels"
            images.mkdir()
            make_photos(images, args.count * 3000 // width, width)
            cases.append({"width": width, **report(images, folder / "out", args.rounds)})
    facts = {"longest_side": LONGEST, "quality": QUALITY, "rounds": args.rounds, "cases": cases}
    keep("build", facts, load, "python benchmarks/build.py")


if __name__ == "__main__":
    main()
