"""How the data tools' time and memory grow: photos, their size, masks, hashes.

python benchmarks/data_growth.py [masks | memory | hashes | photos | sizes ...]

Writes a curve each to `results/growth/` and all figures to `results/data_growth.json`, where a run
of some groups leaves the others as they were. Times are the processor's. Memory is the most that a
process of its own ever held (VmHWM), without what it held before it began.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

COMMAND = "python benchmarks/data_growth.py"
SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
AREAS = (0.001, 0.004, 0.016, 0.064, 0.256, 0.45)  # shares of an image
FIXED_SIDE, MASKS = 1024, 40
HASHES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
PHOTOS = (100, 400, 1_600, 6_400, 25_600, 102_400)
MEGAPIXELS = (1, 4, 16, 32, 64, 128)
DISTANCE = 6  # bits, the builder's default

Points = list[tuple[float, float]]


def seconds_a_mask(side: int, share: float | None = None) -> tuple[float, float, float]:
    """Return processor seconds to make and to measure a mask, and its mean area in pixels."""
    from rba.draws import keyed_generator
    from rba.masks import generate_mask, load_profile, mask_statistics

    profile = load_profile("pal")
    profile = profile if share is None else profile.with_area(share)
    taken: list[tuple[float, float]] = []
    areas: list[int] = []
    for number in range(-2, MASKS):
        rng = keyed_generator(0, "mask", "growth", number + 2)
        started = time.process_time()
        mask = generate_mask(profile, rng, side, side)
        made = time.process_time()
        mask_statistics(mask)
        if number >= 0:
            taken.append((made - started, time.process_time() - made))
            areas.append(int(np.count_nonzero(mask)))
    making, measuring = np.mean(taken, axis=0).tolist()
    return making, measuring, float(np.mean(areas))


def grow_masks() -> dict[str, Points]:
    """Measure masks by the image's pixels, and by their area in one image."""
    curves: dict[str, Points] = {"masks by image": [], "statistics": [], "masks by area": []}
    for side in SIDES:
        making, measuring, _ = seconds_a_mask(side)
        curves["masks by image"].append((side**2, making))
        curves["statistics"].append((side**2, measuring))
    for share in AREAS:
        making, _, area = seconds_a_mask(FIXED_SIDE, share)
        curves["masks by area"].append((area, making))
    return curves


def grow_memory() -> dict[str, Points]:
    """Measure the memory of making one mask by the image's pixels."""
    sides = [side for side in SIDES if side >= 512] + [8192]
    return {"mask memory": [(side**2, apart("mask", str(side))["mib"]) for side in sides]}


def grow_hashes() -> dict[str, Points]:
    """Measure the search for duplicates by the number of pictures, all different."""
    from rba.data.build.built import Fingerprint
    from rba.data.build.duplicates import DuplicateIndex

    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, HASHES[-1], np.uint64).tolist()
    index, points = DuplicateIndex(DISTANCE), Points()
    started = time.process_time()
    for number, value in enumerate(values, 1):
        index.add(Fingerprint(f"{number:032x}", value))
        if number in HASHES:
            points.append((number, time.process_time() - started))
    return {"hashes": points}


def grow_photos() -> dict[str, Points]:
    """Measure whole builds by the number of made-up photos of 64 pixels, one worker."""
    curves: dict[str, Points] = {"photos": [], "photos memory": []}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "photos"
        source.mkdir()
        for number in range(PHOTOS[-1]):
            write_small(source, number)
        for count in PHOTOS:
            folder = Path(name) / str(count)
            folder.mkdir()
            for number in range(count):
                os.link(source / f"{number:06d}.jpg", folder / f"{number:06d}.jpg")
            found = apart("build", str(folder))
            assert found["kept"] > 0.99 * count, found
            curves["photos"].append((count, found["seconds"]))
            curves["photos memory"].append((count, found["mib"]))
    return curves


def grow_sizes() -> dict[str, Points]:
    """Measure the build of one photo by its pixels, as JPEG and as PNG."""
    curves: dict[str, Points] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind in ("jpg", "png"):
            for size in MEGAPIXELS:
                folder = Path(name) / f"{kind}-{size}"
                folder.mkdir()
                write_large(folder / f"photo.{kind}", size)
                found = apart("build", str(folder))
                assert found["kept"] == 1
                curves.setdefault(f"{kind} seconds", []).append((size, found["seconds"]))
                curves.setdefault(f"{kind} memory", []).append((size, found["mib"]))
    return curves


def write_small(folder: Path, number: int) -> None:
    """Write a photo of 64 pixels that looks like no other."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
    picture = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / f"{number:06d}.jpg"), picture)


def write_large(path: Path, megapixels: int) -> None:
    """Write a photo of so many megapixels, tiles of a photograph."""
    import skimage.data

    tile = cv2.resize(skimage.data.coffee()[..., ::-1], (1000, 1000))
    rows = 2 ** (int(np.log2(megapixels)) // 2)
    picture = np.tile(tile, (rows, megapixels // rows, 1))
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if path.suffix == ".png" else []
    assert cv2.imwrite(str(path), picture, options)


def apart(case: str, argument: str) -> dict[str, float]:
    """Run a case in a process of its own and return its figures."""
    command = [sys.executable, __file__, "--case", case, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_case(case: str, argument: str) -> dict[str, float]:
    """Make masks of a side, or build a folder; called in a process of its own."""
    cv2.setNumThreads(1)
    if case == "mask":
        seconds_a_mask(64)
        before = peak()
        from rba.draws import keyed_generator
        from rba.masks import generate_mask, load_profile

        for number in range(10):
            rng = keyed_generator(0, "mask", "growth", number)
            generate_mask(load_profile("pal"), rng, int(argument), int(argument))
        return {"mib": peak() - before}
    from rba.batch import Mode
    from rba.data.build import BuildJob, build_shards
    from rba.data.photo_lists import list_photos
    from rba.data.photos import PhotoLimits, PhotoLoader

    limits = PhotoLimits(shortest_side=16, min_sharpness=1, min_contrast=1)
    before, started = peak(), time.process_time()
    found = list_photos(argument)
    job = BuildJob(kind=Mode.ALIGNMENT, settings={}, near_distance=DISTANCE, workers=1)
    with tempfile.TemporaryDirectory() as out:
        report = build_shards(found, PhotoLoader(found.root, limits), out, job)
    seconds = time.process_time() - started
    return {"seconds": seconds, "mib": peak() - before, "kept": report.kept}


def peak() -> float:
    """Return the most that this process held, MiB."""
    line = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert line is not None
    return int(line[1]) / 1024


GROUPS = {
    "masks": grow_masks,
    "memory": grow_memory,
    "hashes": grow_hashes,
    "photos": grow_photos,
    "sizes": grow_sizes,
}
TITLES = {  # of curves: title, size, cost
    "masks by image": ("Making a mask", "pixels of the image", "s of processor a mask"),
    "masks by area": ("Making a mask, by its area", "pixels of the mask", "s of processor a mask"),
    "statistics": ("Measuring a mask", "pixels of the image", "s of processor a mask"),
    "mask memory": ("Memory to make a mask", "pixels of the image", "MiB"),
    "hashes": ("Near-duplicate search", "pictures", "s of processor"),
    "photos": ("Building shards", "photos of 64 pixels", "s of processor"),
    "photos memory": ("Memory of a build", "photos of 64 pixels", "MiB"),
    "jpg seconds": ("Building from one JPEG", "megapixels", "s of processor"),
    "jpg memory": ("Memory for one JPEG", "megapixels", "MiB"),
    "png seconds": ("Building from one PNG", "megapixels", "s of processor"),
    "png memory": ("Memory for one PNG", "megapixels", "MiB"),
}


def measure(groups: Sequence[str]) -> None:
    """Measure some groups, keep and print their curves."""
    from growth import keep_growth
    from loader import machine
    from turns import PACKAGES, RESULTS, keep

    path = RESULTS / "data_growth.json"
    facts: dict[str, Any] = json.loads(path.read_text())["curves"] if path.exists() else {}
    first = os.getloadavg()
    for group in groups:
        load = os.getloadavg()
        for name, points in GROUPS[group]().items():
            title, size, cost = TITLES[name]
            command = f"{COMMAND} {group}"
            where = {**machine(PACKAGES), "load": load}
            words = {"size": size, "cost": cost, "command": command, "machine": where}
            fitted = keep_growth(title, points, **words)
            facts[name] = {"points": points, **fitted, "load": load}
            print(f"{title:<30}{fitted}  " + ", ".join(f"{x:g}: {y:.4g}" for x, y in points))
        keep("data_growth", {"curves": facts}, first, COMMAND)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("groups", nargs="*", help=f"{', '.join(GROUPS)}; all by default")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run_case(*args.case)))
    else:
        cv2.setNumThreads(1)
        measure(args.groups or list(GROUPS))


if __name__ == "__main__":
    main()
