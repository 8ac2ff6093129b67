"""Gamma as a picture: mean IoU over sampler steps and layers ([0] figure of the grid search)."""

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
        HxWx3 uint8: a column a step from the noisiest to the cleanest, a row a layer, layer 0 on
        top.

    [0] Refine-by-Align, the grid search for (t, l).
    """
    gamma = calibration.gamma.T
    num_layers, num_steps = gamma.shape
    figure = Figure(figsize=(10.0, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = axes.imshow(gamma, cmap=_COLOURS, aspect="auto", interpolation="nearest", vmin=0.0)
    step, layer = calibration.best
    column = calibration.steps.index(step)
    axes.add_patch(
        Rectangle((column - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=_CHOSEN, linewidth=3)
    )
    columns = range(0, num_steps, -(-num_steps // _MOST_LABELS))
    axes.set_xticks(list(columns), [str(calibration.steps[index]) for index in columns])
    axes.set_yticks(list(range(0, num_layers, 2)))
    axes.set_xlabel(f"sampler step of {calibration.num_inference_steps} (0 = the noisiest)")
    axes.set_ylabel("layer")
    axes.set_title(
        f"mIoU over {calibration.num_cases} cases; chosen: step {step}, layer {layer}, "
        f"mIoU {calibration.at((step, layer)):.3f}"
    )
    figure.colorbar(shown, ax=axes, label="mIoU")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
