"""Which reference shows a defect's side: python benchmarks/references.py [--model DIR].

Each object (held-out photographs and letters) is rendered three times: the picture with the
defect, a reference that shows the defect's side, and one from the other side of the object. The
defect lies where the first reference shows the surface and the second does not. Each score picks a
reference; a tie counts half, so chance is 50 %:

surroundings   what rba.inference.references takes: tokens around the hole, found on the reference
confidence     share of the correspondence map's mass in its region
peak           largest cell of the correspondence map
colours        as `surroundings`, with the mean colours of the same cells in place of tokens
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from loader import machine

from rba.case import Case
from rba.draws import keyed_generator
from rba.geometry import resize
from rba.inference.images import find_matches
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.references import surroundings_scores
from rba.inference.request import Alignment, RefinementRequest
from rba.masks import load_profile
from rba.masks.generator import generate_mask
from rba.rendering.camera import turn
from rba.rendering.correspondence import correspondence
from rba.rendering.defects import make_defect
from rba.rendering.glyphs import glyphs_of
from rba.rendering.poses import PoseRanges, draw_camera, draw_poses
from rba.rendering.printing import print_surfaces
from rba.rendering.raster import rasterise
from rba.rendering.shapes import make_mesh
from rba.rendering.style import PrintStyle
from rba.rendering.textures import load_textures
from rba.rendering.view import compose, draw_background, draw_light, paint

RESULTS = Path(__file__).parent / "results" / "references.json"
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")
SIZE, FINE = 128, 2  # pixels, samples along an axis of a pixel
SHAPES = ("box", "cylinder")
RANGES = PoseRanges(
    rotation_degrees=(0.0, 45.0),
    roll_degrees=15.0,
    fills=((0.6, 0.9), (0.6, 0.9)),
    smallest_overlap=0.4,
)
STYLE = PrintStyle(density=(3.0, 5.0), empty_share=0.1, mosaic_share=0.5)  # as the tiny model's
AROUND = 2  # cells around the hole that count as its surroundings


def make_case(textures: Mapping[str, np.ndarray], seed: int, index: int) -> Case | None:
    """Render one object; the first reference shows the defect's side.

    Returns:
        None where no place of the object is on the one reference and not on the other.
    """
    rng = keyed_generator(seed, "references", "heldout", index)
    mesh = make_mesh(SHAPES[index % len(SHAPES)], rng)
    poses = draw_poses(mesh, rng, SIZE, RANGES)
    # Turned about its own axis; the camera's matrix maps from the object's axes.
    behind = poses.cameras[0].rotation @ turn(np.array([0.0, 1.0, 0.0]), rng.uniform(150, 240))
    cameras = [*poses.cameras, draw_camera(mesh, behind, rng, SIZE, RANGES, 1)]
    rasters = [*poses.rasters, rasterise(mesh, cameras[2])]
    large = [rasterise(mesh, camera.enlarged(FINE)) for camera in cameras]
    names = sorted(textures)
    photos = [textures[names[int(number)]] for number in rng.permutation(len(names))[:3]]
    prints = print_surfaces(
        mesh, large, photos[:2], int(rng.integers(2**62)), SIZE, STYLE, glyphs_of("heldout")
    )
    pictures: list[np.ndarray] = []
    for camera, raster in zip(cameras, large, strict=True):
        background = draw_background(photos[2], rng, SIZE)
        painted = paint(raster, prints, draw_light(rng, 0.6), camera.rotation)
        pictures.append(compose(painted, raster.mask, background, FINE))
    here = np.isfinite(poses.maps[0]).all(axis=2)
    there = np.isfinite(correspondence(rasters[0], rasters[2], cameras[2])).all(axis=2)
    only = np.asarray(here & ~there)
    if only.sum() < 0.05 * rasters[0].mask.sum():
        return None
    mask = generate_mask(load_profile("pal"), rng, SIZE, SIZE, inside=only)
    return Case(
        id=f"{index:05d}-{mesh.kind}",
        image=make_defect(pictures[0], mask, rng),
        artifact_mask=mask,
        references=(pictures[1], pictures[2]),
        reference_masks=(rasters[1].mask, rasters[2].mask),
    )


def colour_score(alignment: Alignment, side: int) -> float:
    """Score a reference by the mean colours around the hole: minus their mean distance to its own.

    Args:
        alignment: On the reference.
        side: Cells along a side, as the encoder has tokens.
    """
    crop, reference = alignment.crop, alignment.reference
    hole = resize(crop.mask.astype(np.float32), side, side) > 0
    rows, columns = np.nonzero(hole)
    ring = np.zeros_like(hole)
    for row, column in zip(rows, columns, strict=True):
        top, left = max(row - AROUND, 0), max(column - AROUND, 0)
        ring[top : row + AROUND + 1, left : column + AROUND + 1] = True
    needed = resize(crop.pixels, side, side)[ring & ~hole].astype(np.float64)
    on_object = resize(reference.mask.astype(np.float32), side, side) > 0.5
    shown = resize(reference.pixels, side, side)[on_object].astype(np.float64)
    if not len(needed) or not len(shown):
        return 0.0
    return -float(np.linalg.norm(needed[:, None] - shown[None], axis=2).min(axis=1).mean())


def scores_of(pipeline: RefineByAlignPipeline, case: Case) -> dict[str, list[float]]:
    """Return each score of both references."""
    network, settings = pipeline.network, pipeline.settings(defect_distance=None)
    request = RefinementRequest(case=case)
    (match,) = find_matches(network, pipeline.scheduler, request, settings)
    both = match.choice.alignments
    side = round(network.num_tokens**0.5)
    maps = [item.correspondence_map for item in both]
    return {
        "surroundings": surroundings_scores(network, both),
        "confidence": [0.0 if item.fallback else item.confidence for item in both],
        "peak": [0.0 if found is None else float(found.max()) for found in maps],
        "colours": [colour_score(item, side) for item in both],
    }


def summary(wins: list[float], rng: np.random.Generator) -> dict[str, float]:
    """Return the share that was picked right, with a 95 % bootstrap interval over the objects."""
    drawn = rng.choice(wins, (2000, len(wins))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"right": float(np.mean(wins)), "low": float(low), "high": float(high)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="model directory, or the name of one")
    parser.add_argument("--count", type=int, default=200, help="objects")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    pipeline = RefineByAlignPipeline.open(given.model)
    textures = load_textures(None, "heldout")
    wins: dict[str, list[float]] = {}
    index = 0
    while index == 0 or len(wins["surroundings"]) < given.count:
        case = make_case(textures, given.seed, index)
        index += 1
        if case is None:
            continue
        for name, (right, wrong) in scores_of(pipeline, case).items():
            wins.setdefault(name, []).append(0.5 + 0.5 * float(np.sign(right - wrong)))
    rng = np.random.default_rng(given.seed)
    figures: dict[str, Any] = {name: summary(values, rng) for name, values in wins.items()}
    for name, row in figures.items():
        print(f"{name:13s} {row['right']:.3f} ({row['low']:.3f}-{row['high']:.3f})")
    run = {"model": given.model, "objects": given.count, "rendered": index, "seed": given.seed}
    found = {"machine": machine(PACKAGES), "run": run, "chance": 0.5, "figures": figures}
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
