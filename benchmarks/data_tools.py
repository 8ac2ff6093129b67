"""How fast the tools are that a set of photos or objects goes through, one core, beside bare loops.

python benchmarks/data_tools.py [--records 60] [--rounds 5]

Each tool's own work on one item, without its start-up and report, takes turns with what one would
write with OpenCV and tarfile to get about as far: ``bare`` reads, decodes, digests, draws strokes
or traces contours, and judges, measures or holds to a schema nothing.
"""

import argparse
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from loader_shards import write_shards
from masks import draw_strokes
from turns import keep, rates, show, take_turns

from rba.batch import Mode
from rba.data.build.sizes import DroppedError
from rba.data.objects import PairChoice, PairLoader, PairSettings, list_pairs
from rba.data.objects.masks import guess_mask
from rba.data.record_choice import choose_records
from rba.data.shard_check import check_shard, shard_tasks
from rba.data.shard_description import ShardDescription
from rba.data.shard_index import IndexTask, find_tars, index_tar
from rba.data.shard_listing import list_shards
from rba.data.shards import ShardSet
from rba.masks import load_profile
from rba.masks.population import measure_file
from rba.masks.synthesis import Synthesis
from rba.matching.exact import read_exact
from rba.rendering.dataset import RenderJob, cut_photos, prepare_folder, render_objects

SIDE = 512
GRABCUT_SIDE, GRABCUT_ROUNDS = 256, 5  # as the tool works
Loop = Callable[[], object]


def tar_loops(folder: Path, mode: Mode) -> dict[str, dict[str, Loop]]:
    """Return the loops of the tools that read shards."""
    profile, shards = load_profile("pal"), ShardSet.open(folder)
    tar = find_tars(str(folder))[0]
    places = choose_records(shards, 0, "describe", 0)

    def describe() -> None:
        description = ShardDescription()
        for place in places:
            description.add(shards, place, profile, 0)
        assert description.measured == len(places)

    def check() -> None:
        assert not any(check_shard(task).faults for task in shard_tasks(list_shards(str(folder))))

    def index() -> None:
        assert index_tar(IndexTask(path=tar, kind=mode)).refusal is None

    return {
        f"check_shards, {mode.value}": {
            "ours": check,
            "bare": lambda: read_tar(tar, digest=True, decode=True),
        },
        f"index_shards, {mode.value}": {
            "ours": index,
            "bare": lambda: read_tar(tar, digest=True, decode=False),
        },
        f"describe_shards, {mode.value}": {
            "ours": describe,
            "bare": lambda: read_tar(tar, digest=False, decode=True),
        },
    }


def read_tar(path: Path, *, digest: bool, decode: bool) -> None:
    """Read all members of a tar with the standard library; decode the pictures with OpenCV."""
    if digest:
        with open(path, "rb") as stream:
            hashlib.file_digest(stream, "sha256")
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            data = stream.read()
            if decode and member.name.endswith((".jpg", ".png")):
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def mask_loops(folder: Path, count: int) -> dict[str, dict[str, Loop]]:
    """Return the loops of the tools for masks."""
    profile = load_profile("pal")
    folder.mkdir()
    synthesis = Synthesis(profile, 0, SIDE, SIDE, folder)
    files = [folder / synthesis(number).name for number in range(count)]
    strokes = draw_strokes(profile, SIDE, SIDE)

    def write_strokes() -> None:
        for number in range(count):
            mask = strokes(number).view(np.uint8) * 255
            cv2.imwrite(str(folder / "strokes.png"), mask)

    def trace() -> None:
        for path in files:
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            cv2.connectedComponentsWithStats(mask)
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            contour = max(contours, key=len)
            cv2.contourArea(contour)
            cv2.arcLength(contour, closed=True)

    return {
        "synthesize_masks": {
            "ours": lambda: [synthesis(number) for number in range(count)],
            "bare": write_strokes,
        },
        "measure_masks": {
            "ours": lambda: [measure_file((path, path.name)) for path in files],
            "bare": trace,
        },
    }


def object_loops(folder: Path, count: int) -> dict[str, dict[str, Loop]]:
    """Return the loops of the tools for objects: rendering has no bare counterpart."""
    job, again, photos = RenderJob(seed=0, size=SIDE), folder / "again", folder / "photos"
    for place in (folder / "objects", again, photos):
        place.mkdir(parents=True)
    list(render_objects(job, folder / "objects", count, workers=1))
    pairs = list_pairs(str(folder / "objects"), "auto", PairChoice(max_pairs=1))
    loader = PairLoader(pairs.root, PairSettings(matcher="exact"), read_exact)
    views = [cv2.imread(str(path)) for path in (folder / "objects").glob("*/00.png")]
    files = sorted((folder / "objects").glob("*/0[01].png"))

    def render() -> None:
        prepare_folder(again, overwrite=True)
        list(render_objects(job, again, count, workers=1))

    def build() -> None:
        for number in range(len(pairs)):
            name, pair = pairs[number]
            loader(pair, name.replace("/", "-")).encode(95)

    def encode() -> None:
        for path in files:
            image = cv2.imread(str(path))
            mask = cv2.imread(str(path.with_suffix(".mask.png")), cv2.IMREAD_UNCHANGED)
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            cv2.imencode(".png", mask)

    def guess() -> None:
        for view in views:
            try:
                guess_mask(view)
            except DroppedError:
                continue

    def cut() -> None:
        for view in views:
            small = cv2.resize(view, (GRABCUT_SIDE, GRABCUT_SIDE), interpolation=cv2.INTER_AREA)
            labels, models = np.zeros(small.shape[:2], np.uint8), np.zeros((2, 1, 65))
            edge = GRABCUT_SIDE // 32
            box = (edge, edge, GRABCUT_SIDE - 2 * edge, GRABCUT_SIDE - 2 * edge)
            method = cv2.GC_INIT_WITH_RECT
            cv2.grabCut(small, labels, box, models[0], models[1], GRABCUT_ROUNDS, method)

    return {
        "render_objects": {"ours": render},
        "render_objects, photos": {"ours": lambda: list(cut_photos(job, photos, count))},
        "build_refinement_shards, exact": {"ours": build, "bare": encode},
        "build_refinement_shards, GrabCut": {"ours": guess, "bare": cut},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", type=int, default=60, help="masks, and records of a set")
    parser.add_argument("--objects", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    load = os.getloadavg()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups = [(mask_loops(folder / "masks", args.records), args.records)]
        for mode in Mode:
            made = write_shards(folder / mode.value, mode, SIDE, args.records, 1)
            groups.append((tar_loops(made, mode), args.records))
        groups.append((object_loops(folder, args.objects), args.objects))
        for loops, count in groups:
            for tool, pair in loops.items():
                rows[tool] = rates(take_turns(pair, args.rounds), count)
                show(tool, rows[tool], "a second")
    facts = {"side": SIDE, "records": args.records, "objects": args.objects, "tools": rows}
    keep("data_tools", facts, load, "python benchmarks/data_tools.py")


if __name__ == "__main__":
    main()
