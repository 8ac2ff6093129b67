"""Pictures of the sweeps: curves of mIoU, hit rate and PSNR, and what the cases show."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rba.evaluation.robustness import Point
from rba.evaluation.sweep_cases import SweepRenderer
from rba.geometry import resize

_PANELS = {"iou_mask": "mIoU", "hit": "hit rate", "psnr_hole_db": "PSNR in the hole, dB"}
_LABELS = {
    "view_angle": "view angle, degrees",
    "scale": "object's size, reference / image",
    "light": "change of light and colour",
    "texture_difference": "texture difference",
    "occlusion": "share of the reference's object hidden",
    "mask_area": "mask area, share of the image",
    "equal_objects": "equal objects on the reference",
}
_LOGARITHMIC = frozenset({"scale", "mask_area"})
# Colours that remain apart for the colour-blind (Okabe and Ito), ours first.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DEFECT_COLOUR = "#888888"

_TILE = 112  # pixels a side
_OUTLINE = (255, 0, 0)

Row = dict[str, Any]


def draw_sweeps(rows: Sequence[Row]) -> np.ndarray:
    """Draw means with bands of 95 %, a line a method.

    Args:
        rows: As `rba.evaluation.robustness.Robustness.run` returns them, of one or several sweeps.

    Returns:
        HxWx3 uint8, a row of panels for each sweep.
    """
    sweeps = list(dict.fromkeys(row["sweep"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    height = 2.9 * len(sweeps) + 0.5
    figure = Figure(figsize=(11.0, height), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(sweeps), len(_PANELS), squeeze=False)
    for line, sweep in zip(axes, sweeps, strict=True):
        own = [row for row in rows if row["sweep"] == sweep]
        for panel, (metric, title) in zip(line, _PANELS.items(), strict=True):
            _draw_panel(panel, own, methods, metric)
            panel.set_xlabel(_LABELS.get(sweep, sweep))
            panel.set_ylabel(title)
    # The last panel has a line of every method: PSNR needs no region.
    handles, labels = axes[0][-1].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=max(len(labels), 1))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_panel(axes: Axes, rows: Sequence[Row], methods: Sequence[str], metric: str) -> None:
    colours = iter(_COLOURS * (1 + len(methods) // len(_COLOURS)))
    for method in methods:
        colour = _DEFECT_COLOUR if method == "defect" else next(colours)
        known = [row for row in rows if row["method"] == method and row[metric] is not None]
        if not known:
            continue
        values = [row["value"] for row in known]
        lows, highs = ([row[f"{metric}_{end}"] for row in known] for end in ("low", "high"))
        style = "--" if method == "defect" else "o-"
        axes.fill_between(values, lows, highs, color=colour, alpha=0.13, linewidth=0)
        axes.plot(
            values, [row[metric] for row in known], style, color=colour, label=method, markersize=4
        )
    ticks = sorted({row["value"] for row in rows})
    if rows and rows[0]["sweep"] in _LOGARITHMIC:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.minorticks_off()
    if metric != "psnr_hole_db":
        axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)


def draw_examples(renderer: SweepRenderer, points: Sequence[Point], number: int = 1) -> np.ndarray:
    """Show one case at all points: image and reference, mask and true regions outlined.

    Args:
        renderer: Of the cases.
        points: Of all sweeps, a row each.
        number: Of the case.

    Returns:
        HxWx3 uint8, two tiles a point.
    """
    lines: dict[str, list[np.ndarray]] = {}
    for point in points:
        made = renderer.render(point.condition, number)
        right = np.any(made.regions, axis=0)
        tiles = lines.setdefault(point.sweep, [])
        tiles.append(_tile(made.case.image, made.case.artifact_mask))
        tiles.append(_tile(made.case.references[0], right))
    longest = max(len(tiles) for tiles in lines.values())
    empty = np.full((_TILE, _TILE, 3), 255, np.uint8)
    return np.vstack([np.hstack(t + [empty] * (longest - len(t))) for t in lines.values()])


def _tile(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Outline a mask and fit the picture into a white square."""
    factor = _TILE / max(picture.shape[:2])
    height, width = (max(round(side * factor), 1) for side in picture.shape[:2])
    tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
    outlined = picture.copy()
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, edges, -1, _OUTLINE, max(round(1 / factor), 1))
    tile[:height, :width] = resize(outlined, height, width)
    return tile
