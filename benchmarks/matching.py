"""How good matches are on rendered pairs whose truth is known: coverage, and PCK in pixels of 512.

python benchmarks/matching.py [--objects DIR] [--count 50] [--size 512]

Without ``--objects`` textured boxes and cards are rendered, turned by 15 to 40 degrees between the
views; each pair is matched in one direction. *Coverage* is the share of the nodes visible in both
views that have a match, *PCK* the share of the matches that lie within 4, 8 and 16 pixels of the
truth; a match where nothing is visible counts as wrong. ``exact`` follows the renderer's
correspondence to the reference and the other way's, rendered by itself, back: how far it returns
from where it began. ``plain OpenCV`` is what one would write instead: SIFT, brute force with the
ratio test, one homography over all nodes of the object; its time is taken in the same turn.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from turns import keep, spread

from rba.geometry import project
from rba.matching.accuracy import Accuracy, way_back
from rba.matching.dense import empty_grid, grid_nodes
from rba.matching.exact import read_correspondence, read_exact
from rba.matching.sift import SiftMatcher
from rba.matching.view_area import ViewArea
from rba.pictures import read_image, read_mask
from rba.rendering.dataset import RenderJob, render_objects
from rba.rendering.pair import PairSettings

TILTS = {"sift": True, "sift, no tilted copies": False}
PLAIN = "plain OpenCV"
RATIO, LEAST, PIXELS = 0.75, 4, 4.0  # of distances; matches; of RANSAC


@dataclasses.dataclass
class Measured:
    """Figures of each matcher, summed over pairs and of each pair, and its processor seconds."""

    totals: dict[str, Accuracy] = dataclasses.field(
        default_factory=lambda: defaultdict[str, Accuracy](Accuracy)
    )
    pairs: dict[str, list[Accuracy]] = dataclasses.field(
        default_factory=lambda: defaultdict[str, list[Accuracy]](list)
    )
    seconds: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: defaultdict[str, list[float]](list)
    )

    def add(self, name: str, accuracy: Accuracy, seconds: float) -> None:
        """Count one pair."""
        self.totals[name] += accuracy
        self.pairs[name].append(accuracy)
        self.seconds[name].append(seconds)

    def rows(self) -> dict[str, Any]:
        """Return the figures of each matcher, medians over pairs; times beside the plain one's."""
        rows: dict[str, Any] = {}
        for name, total in self.totals.items():
            seconds, each = self.seconds[name], self.pairs[name]
            beside = [a / b for a, b in zip(seconds, self.seconds[PLAIN], strict=True)]
            rows[name] = {
                **total.summary(),
                "worst_coverage": min(one.coverage for one in each),
                "worst_pck@8": min((one.pck[1] for one in each if one.claimed), default=None),
                "seconds": spread(seconds),
                "pairs_a_second": len(seconds) / sum(seconds),
                f"times_{PLAIN}": spread(beside),
            }
        return rows


def table(rows: dict[str, Any]) -> str:
    """Return a line a matcher."""
    shown = ("coverage", "worst_coverage", "pck@4", "pck@8", "pck@16", "worst_pck@8")
    lines = [f"{'matcher':<24}{'pairs':>6}" + "".join(f"{name:>15}" for name in shown)]
    lines[0] += f"{'s/pair':>8}{'pairs/s':>9}{'times plain':>13}"
    for name, row in rows.items():
        cells = "".join("      -        " if row[k] is None else f"{row[k]:>15.3f}" for k in shown)
        lines.append(
            f"{name:<24}{row['pairs']:>6}{cells}{row['seconds']['median']:>8.3f}"
            f"{row['pairs_a_second']:>9.2f}{row[f'times_{PLAIN}']['median']:>13.2f}"
        )
    return "\n".join(lines)


def match_plainly(
    target: np.ndarray, target_mask: np.ndarray, reference: np.ndarray, reference_mask: np.ndarray
) -> np.ndarray:
    """Match two views with OpenCV alone.

    Returns:
        The grid as our matchers give it: the nodes on the object, mapped by the homography that
        most key points agree with, where they fall onto the object of the reference.
    """
    views = ((target, target_mask), (reference, reference_mask))
    found = [
        cv2.SIFT_create().detectAndCompute(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), mask.astype(np.uint8) * 255
        )
        for image, mask in views
    ]
    size = (target.shape[0], target.shape[1])
    grid = empty_grid(size)
    if any(points is None or len(points) < LEAST for _, points in found):
        return grid
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(found[0][1], found[1][1], k=2)
    good = [one for one, other in nearest if one.distance < RATIO * other.distance]
    if len(good) < LEAST:
        return grid
    cv2.setRNGSeed(0)
    matrix, _ = cv2.findHomography(
        np.array([found[0][0][one.queryIdx].pt for one in good]),
        np.array([found[1][0][one.trainIdx].pt for one in good]),
        cv2.RANSAC,
        PIXELS,
    )
    if matrix is None:
        return grid
    nodes = grid_nodes(size, ViewArea(size, target_mask))
    there = project(nodes, matrix)
    area = ViewArea((reference.shape[0], reference.shape[1]), reference_mask)
    seen = ViewArea(size, target_mask).contains(nodes) & area.contains(there)
    flat = grid.reshape(-1, 3)
    flat[seen, :2] = there[seen] / area.size[::-1]
    flat[seen, 2] = 1
    return grid


def render(folder: Path, count: int, size: int, seed: int = 0) -> None:
    """Render textured boxes and cards."""
    settings = PairSettings(shapes=("box", "card"), rotation_degrees=(15.0, 40.0))
    job = RenderJob(seed=seed, size=size, settings=settings)
    for _ in render_objects(job, folder, count, workers=1):
        pass


def measure(folder: Path, matchers: dict[str, SiftMatcher]) -> Measured:
    """Match view 00 of every object with view 01 and compare with the truth."""
    measured = Measured()
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        images = [read_image(place / f"{view}.png") for view in ("00", "01")]
        masks = [read_mask(place / f"{view}.mask.png") for view in ("00", "01")]
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        started = time.process_time()
        truth = read_exact(place / "00-01.correspondence.png", *sizes[0])
        seconds = time.process_time() - started
        returned = way_back(truth, read_correspondence(place / "01-00.correspondence.png"))
        nodes = grid_nodes(sizes[0], ViewArea(sizes[0], None)) / sizes[0][::-1]
        began = np.where(np.isfinite(truth[..., :1]), nodes.reshape(returned.shape), np.nan)
        measured.add("exact", Accuracy.of(returned, began, sizes[0]), seconds)
        started = time.process_time()
        grid = match_plainly(images[0], masks[0], images[1], masks[1])
        seconds = time.process_time() - started
        measured.add(PLAIN, Accuracy.of(grid, truth, sizes[1]), seconds)
        for name, matcher in matchers.items():
            started = time.process_time()
            grid, _ = matcher(images[0], masks[0], images[1], masks[1])
            seconds = time.process_time() - started
            measured.add(name, Accuracy.of(grid, truth, sizes[1]), seconds)
    return measured


def main() -> None:
    """Render if needed, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--objects", type=Path, help="folder of rendered objects")
    parser.add_argument("--count", type=int, default=50, help="objects to render")
    parser.add_argument("--size", type=int, default=512, help="pixels of their views")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    load = os.getloadavg()
    settings = SiftMatcher().settings
    matchers = {
        name: SiftMatcher(dataclasses.replace(settings, tilted=tilted))
        for name, tilted in TILTS.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.objects or Path(scratch)
        if arguments.objects is None:
            render(folder, arguments.count, arguments.size)
        rows = measure(folder, matchers).rows()
    print(table(rows))
    keep(
        "matching",
        {"size": arguments.size, "matchers": rows},
        load,
        "python benchmarks/matching.py",
    )


if __name__ == "__main__":
    main()
