"""The course of a training over its stages: one table against samples seen, and its picture."""

import csv
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rba.errors import InputError

Row = dict[str, Any]
_LOSS = re.compile(r"train/(loss(?:_in_hole)?_(?:alignment|refinement))")
_VALIDATION = re.compile(r"validation(?:_by_layer)?/((?:miou|loss)\w*)")
_MIOU_LAYER = re.compile(r"miou_layer\d+_\w+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageLog:
    """What one stage logged.

    Attributes:
        name: The stage.
        metrics: Its ``metrics.csv``.
        global_batch: Samples an optimiser step.
        max_steps: Optimiser steps.
    """

    name: str
    metrics: Path
    global_batch: int
    max_steps: int


def join_curves(stages: Sequence[StageLog]) -> list[Row]:
    """Join the logs of stages that followed one another.

    Returns:
        A row for each step at which something was logged: ``stage``, ``step`` within it,
        ``samples`` seen since the first stage, mean losses by mode since the row before
        (``loss_MODE``, ``loss_in_hole_MODE``), and where there was a validation
        ``miou_layerNN_MODE`` and ``validation_loss_MODE``.

    Raises:
        InputError: If a log is missing.
    """
    rows: list[Row] = []
    before = 0
    for stage in stages:
        by_step: dict[int, Row] = {}
        for logged in _read(stage.metrics):
            step = int(logged["step"])
            row = {"stage": stage.name, "step": step, "samples": before + step * stage.global_batch}
            by_step.setdefault(step, row).update(_measured(logged))
        rows += [by_step[step] for step in sorted(by_step)]
        before += stage.max_steps * stage.global_batch
    return rows


def best_layers(rows: Sequence[Row], count: int = 3) -> list[str]:
    """Return the columns of the layers with the largest mean IoU at the last validation."""
    measured = [row for row in rows if any(_MIOU_LAYER.fullmatch(name) for name in row)]
    if not measured:
        return []
    last = {name: x for name, x in measured[-1].items() if _MIOU_LAYER.fullmatch(name)}
    return sorted(last, key=lambda name: -last[name])[:count]


def plot_curves(rows: Sequence[Row]) -> np.ndarray:
    """Draw mean IoU of the best layers, and the losses by mode, against samples seen.

    Returns:
        HxWx3 uint8. Dotted lines stand where a stage ended; stages may weigh losses differently.
    """
    figure = Figure(figsize=(10.0, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    layers = best_layers(rows)
    _draw(left, rows, layers, "mIoU of the best layers, validation")
    losses = [f"loss_{mode}" for mode in ("alignment", "refinement")]
    _draw(right, rows, losses, "training loss")
    if any(row.get(name, 0) > 0 for row in rows for name in losses):
        right.set_yscale("log")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(axes: Axes, rows: Sequence[Row], names: Sequence[str], title: str) -> None:
    for name in names:
        points = [(row["samples"], row[name]) for row in rows if name in row]
        if points:
            style = "o-" if len(points) < 3 else "-"
            axes.plot(*zip(*points, strict=True), style, label=name.replace("_", " "))
    ends = {row["stage"]: row["samples"] for row in rows}
    for end in sorted(ends.values())[:-1]:
        axes.axvline(end, color="grey", linestyle=":")
    axes.set_title(title if axes.lines else f"{title}: not measured")
    axes.set_xlabel("samples seen")
    if names and axes.get_legend_handles_labels()[0]:
        axes.legend()


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path} is missing: a run's log; train the stage anew")
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]


def _measured(logged: dict[str, str]) -> dict[str, float]:
    """Return the columns that are kept, under their names in the joined table."""
    kept: dict[str, float] = {}
    for column, text in logged.items():
        if not text:
            continue
        if match := _LOSS.fullmatch(column):
            kept[match.group(1)] = float(text)
        elif match := _VALIDATION.fullmatch(column):
            name = match.group(1)
            kept[f"validation_{name}" if name.startswith("loss") else name] = float(text)
    return kept
