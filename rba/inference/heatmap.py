"""Gamma as a picture: mean IoU over sampler steps and layers ([0] figure of the grid search)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rba.inference.gamma import Calibration

_COLOURS = "cividis"
_CHOSEN = "#e4572e"
_MOST_LABELS = 12


def heatmap(calibration: Calibration) -> np.ndarray:
    """Draw Gamma with the chosen cell framed.

    Args:
        calibration: T' sampler steps, which need not be adjacent, and L layers.

    Returns:
        HxWx3 uint8, see `draw_heatmap`.

    [0] Refine-by-Align, the grid search for (t, l).
    """
    step, layer = calibration.best
    return draw_heatmap(
        calibration.gamma,
        columns=calibration.steps,
        title=f"mIoU over {calibration.num_cases} cases; chosen: step {step}, layer {layer}, "
        f"mIoU {calibration.at((step, layer)):.3f}",
        xlabel=f"sampler step of {calibration.num_inference_steps} (0 = the noisiest)",
        framed=(calibration.steps.index(step), layer),
    )


def draw_heatmap(
    gamma: np.ndarray,
    *,
    columns: Sequence[int],
    title: str,
    xlabel: str,
    framed: tuple[int, int],
    width: float = 10.0,
    with_figures: bool = False,
    label: str = "mIoU",
) -> np.ndarray:
    """Draw mean IoUs, one cell framed.

    Args:
        gamma: [T', L].
        columns: What to call the T' columns, from the noisiest to the cleanest.
        title: Above the picture.
        xlabel: What the columns are.
        framed: (column, layer) of the framed cell.
        width: Inches of 100 pixels.
        with_figures: Write each mean into its cell.
        label: Name of the figure, beside the colours.

    Returns:
        HxWx3 uint8: a column a step, a row a layer, layer 0 on top.
    """
    num_steps, num_layers = gamma.shape
    figure = Figure(figsize=(width, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = axes.imshow(gamma.T, cmap=_COLOURS, aspect="auto", interpolation="nearest", vmin=0.0)
    corner = (framed[0] - 0.5, framed[1] - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_CHOSEN, linewidth=3))
    for (column, layer), value in np.ndenumerate(gamma if with_figures else gamma[:0]):
        colour = "white" if value < gamma.max() / 2 else "black"
        place = {"ha": "center", "va": "center"}
        axes.text(column, layer, f"{value:.2f}", None, fontsize=7, color=colour, **place)
    labelled = range(0, num_steps, -(-num_steps // _MOST_LABELS))
    axes.set_xticks(list(labelled), [str(columns[index]) for index in labelled])
    axes.set_yticks(list(range(0, num_layers, 2)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel("layer")
    axes.set_title(title)
    figure.colorbar(shown, ax=axes, label=label)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
