"""How good matches are on rendered pairs whose truth is known: coverage, and PCK in pixels of 512.

python benchmarks/matching.py [--objects DIR] [--count 50] [--size 512]

Without ``--objects`` textured boxes and cards are rendered, turned by 15 to 40 degrees between the
views; each pair is matched in one direction. *Coverage* is the share of the nodes visible in both
views that have a match, *PCK* the share of the matches that lie within 4, 8 and 16 pixels of the
truth; a match where nothing is visible counts as wrong. ``exact`` follows the renderer's
correspondence to the reference and the other way's, rendered by itself, back: how far it returns
from where it began.
"""

import argparse
import dataclasses
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from rba.matching.accuracy import Accuracy, way_back
from rba.matching.dense import grid_nodes
from rba.matching.exact import read_correspondence, read_exact
from rba.matching.sift import SiftMatcher
from rba.matching.view_area import ViewArea
from rba.pictures import read_image, read_mask
from rba.rendering.dataset import RenderJob, render_objects
from rba.rendering.pair import PairSettings

TILTS = {"sift": True, "sift, no tilted copies": False}


@dataclasses.dataclass
class Measured:
    """Figures of each matcher, summed over pairs and of each pair, and its processor seconds."""

    totals: dict[str, Accuracy] = dataclasses.field(
        default_factory=lambda: defaultdict[str, Accuracy](Accuracy)
    )
    pairs: dict[str, list[Accuracy]] = dataclasses.field(
        default_factory=lambda: defaultdict[str, list[Accuracy]](list)
    )
    seconds: dict[str, float] = dataclasses.field(
        default_factory=lambda: defaultdict[str, float](float)
    )

    def add(self, name: str, accuracy: Accuracy, seconds: float) -> None:
        """Count one pair."""
        self.totals[name] += accuracy
        self.pairs[name].append(accuracy)
        self.seconds[name] += seconds

    def table(self) -> str:
        """Return a line a matcher."""
        head = f"{'matcher':<24}{'pairs':>6}{'coverage':>10}{'worst':>8}"
        head += "".join(f"{name:>8}" for name in ("PCK@4", "PCK@8", "PCK@16", "worst@8", "s/pair"))
        lines = [head]
        for name, total in self.totals.items():
            coverage = min(one.coverage for one in self.pairs[name])
            worst = min((one.pck[1] for one in self.pairs[name] if one.claimed), default=np.nan)
            figures = [*total.pck, worst, self.seconds[name] / total.pairs]
            lines.append(
                f"{name:<24}{total.pairs:>6}{total.coverage:>10.3f}{coverage:>8.3f}"
                + "".join(f"{value:>8.3f}" for value in figures)
            )
        return "\n".join(lines)


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
    settings = SiftMatcher().settings
    matchers = {
        name: SiftMatcher(dataclasses.replace(settings, tilted=tilted))
        for name, tilted in TILTS.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.objects or Path(scratch)
        if arguments.objects is None:
            render(folder, arguments.count, arguments.size)
        print(measure(folder, matchers).table())


if __name__ == "__main__":
    main()
