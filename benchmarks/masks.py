"""How fast masks are made, on one core: python benchmarks/masks.py [COUNT] [PROFILE]."""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from rba.draws import keyed_generator
from rba.masks import generate_mask, load_profile, mask_statistics
from rba.masks.catalogue import catalogue
from rba.masks.placement import detail_map

_ROUNDS = 3


def best_rate(name: str, count: int, height: int, width: int, place: str | None) -> float:
    """Return the best of a few rounds, in masks a second of this process's time on the CPU."""
    profile = load_profile(name)
    disc = cv2.circle(
        np.zeros((height, width), np.uint8), (width // 2, height // 2), height // 3, 1, -1
    )
    noise = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)
    places = {"inside": disc > 0, "crossing": disc > 0, "detail": detail_map(noise)}
    options = {} if place is None else {place: places[place]}
    rates: list[float] = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for index in range(count):
            generate_mask(
                profile, keyed_generator(0, "mask", "benchmark", index), height, width, **options
            )
        rates.append(count / (time.process_time() - start))
    return max(rates)


def main() -> None:
    """Print a table."""
    cv2.setNumThreads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    profile = sys.argv[2] if len(sys.argv) > 2 else "pal"  # or a file that measure_masks.py fitted
    start = time.process_time()
    catalogue()
    print(f"catalogue, once a process: {time.process_time() - start:.2f} s")
    print(f"best of {_ROUNDS} rounds of {count} masks, profile {profile}, seconds of CPU time:")
    for height, width in ((64, 64), (512, 512), (480, 854), (1024, 1024)):
        for place in (None, "inside", "crossing", "detail"):
            if place is not None and height not in (64, 512):
                continue
            rate = best_rate(profile, count, height, width, place)
            where = place or "anywhere"
            print(f"  {width:4d}x{height:<4d} {where:9s} {rate:7.0f} masks/s {1000 / rate:6.2f} ms")
    masks = [
        generate_mask(load_profile(profile), keyed_generator(0, "mask", "benchmark", k), 512, 512)
        for k in range(100)
    ]
    start = time.process_time()
    for mask in masks:
        mask_statistics(mask)
    print(f"  measured at 512x512: {100 / (time.process_time() - start):.0f} masks/s")


if __name__ == "__main__":
    main()
