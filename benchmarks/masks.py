"""How fast masks are made, on one core, beside the masks that one would draw with OpenCV alone.

python benchmarks/masks.py [--count 100] [--rounds 5] [--profile pal]

``strokes`` are the free-form masks that inpainting models are trained on (DeepFill v2, LaMa): bent
brush strokes until a drawn area is reached, here with the profile's own areas. ``polygon`` fills
one random polygon of about that area. What they lack is measured too: the Kolmogorov-Smirnov
distance of each statistic to another draw of the profile, beside the distance of our own masks.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from turns import keep, rates, show, take_turns

from rba.draws import keyed_generator
from rba.masks import generate_mask, load_profile, mask_statistics
from rba.masks.catalogue import catalogue
from rba.masks.groups import MaskProfile
from rba.masks.placement import detail_map
from rba.masks.report import distances

SIZES = ((64, 64), (512, 512), (480, 854), (1024, 1024))
PLACED = (64, 512)  # heights at which masks are placed on objects as well
CORNERS = 8  # of the polygon
COMPARED = 400  # masks of 512 pixels whose statistics are compared

Draw = Callable[[int], np.ndarray]


def draw_ours(profile: MaskProfile, height: int, width: int, place: str | None) -> Draw:
    """Return what draws our masks: anywhere, in or over the edge of a disc, or where detail is."""
    disc = cv2.circle(
        np.zeros((height, width), np.uint8), (width // 2, height // 2), height // 3, 1, -1
    )
    noise = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)
    places = {"inside": disc > 0, "crossing": disc > 0, "detail": detail_map(noise)}
    options = {} if place is None else {place: places[place]}

    def draw(number: int) -> np.ndarray:
        rng = keyed_generator(0, "mask", "benchmark", number)
        return generate_mask(profile, rng, height, width, **options)

    return draw


def draw_strokes(profile: MaskProfile, height: int, width: int) -> Draw:
    """Return what draws bent brush strokes until an area of the profile is reached."""

    def draw(number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        wanted = profile.draw(rng)[1].area_ratio * height * width
        brush = max(int(np.sqrt(wanted) * rng.uniform(0.2, 0.6)), 1)
        mask = np.zeros((height, width), np.uint8)
        while cv2.countNonZero(mask) < wanted:
            x, y = int(rng.integers(width)), int(rng.integers(height))
            angle = rng.uniform(0, 2 * np.pi)
            for _ in range(rng.integers(1, 5)):
                angle += rng.uniform(-1.0, 1.0)
                length = brush * rng.uniform(0.5, 2.0)
                to = round(x + length * np.cos(angle)), round(y + length * np.sin(angle))
                cv2.line(mask, (x, y), to, 1, brush)
                cv2.circle(mask, to, brush // 2, 1, -1)
                x, y = to
        return mask > 0

    return draw


def draw_polygon(profile: MaskProfile, height: int, width: int) -> Draw:
    """Return what fills one random polygon of about an area of the profile."""

    def draw(number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        radius = np.sqrt(profile.draw(rng)[1].area_ratio * height * width / 2)
        angles = np.sort(rng.uniform(0, 2 * np.pi, CORNERS))
        reach = radius * rng.uniform(0.5, 1.5, CORNERS)
        middle = rng.uniform(0, 1, 2) * (width, height)
        points = middle + np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
        mask[min(int(middle[1]), height - 1), min(int(middle[0]), width - 1)] = 1
        return mask > 0

    return draw


def all_of(draw: Draw, count: int) -> Callable[[], list[np.ndarray]]:
    """Return a loop over a number of masks."""
    return lambda: [draw(number) for number in range(count)]


def what_is_lacking(profile: MaskProfile) -> dict[str, dict[str, float]]:
    """Return each loop's distance from a draw of the profile, statistic by statistic."""
    loops = {
        "ours": draw_ours(profile, 512, 512, None),
        "strokes": draw_strokes(profile, 512, 512),
        "polygon": draw_polygon(profile, 512, 512),
    }
    wanted = [profile.draw(np.random.default_rng((1, k)))[1] for k in range(10 * COMPARED)]
    return {
        name: distances([mask_statistics(draw(k)) for k in range(COMPARED)], wanted)
        for name, draw in loops.items()
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="masks of each loop and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", default="pal", help="or a file that measure_masks.py fitted")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    load, started = os.getloadavg(), time.process_time()
    catalogue()
    once = time.process_time() - started
    profile = load_profile(args.profile)
    cases = []
    for height, width in SIZES:
        loops = {
            "ours": draw_ours(profile, height, width, None),
            "strokes": draw_strokes(profile, height, width),
            "polygon": draw_polygon(profile, height, width),
        }
        if height in PLACED:
            for place in ("inside", "crossing", "detail"):
                loops[place] = draw_ours(profile, height, width, place)
        taken = take_turns({k: all_of(draw, args.count) for k, draw in loops.items()}, args.rounds)
        cases.append({"height": height, "width": width, **rates(taken, args.count)})
        show(f"{width}x{height}", cases[-1], "masks/s")
    masks = all_of(draw_ours(profile, 512, 512, None), args.count)()
    taken = take_turns({"ours": lambda: [mask_statistics(mask) for mask in masks]}, args.rounds)
    measured = rates(taken, args.count)
    show("nine statistics at 512x512", measured, "masks/s")
    lacking = what_is_lacking(profile)
    for name, row in lacking.items():
        print(f"KS distance of {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in row.items()))
    facts = {
        "catalogue_seconds": once,
        "profile": args.profile,
        "masks": args.count,
        "rounds": args.rounds,
        "cases": cases,
        "statistics_512": measured,
        "ks_distance_512": lacking,
    }
    keep("masks", facts, load, "python benchmarks/masks.py")


if __name__ == "__main__":
    main()
