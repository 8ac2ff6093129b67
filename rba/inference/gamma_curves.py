"""Gamma by sampler step and by layer, as two curves ([0] figure of the mIoU by timestep, layer)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rba.inference.gamma import Calibration
from rba.metrics.bootstrap import mean_interval

_MASK, _BOX, _CHOSEN = "#3b0f70", "#de4968", "#888888"


def draw_curves(calibration: Calibration) -> np.ndarray:
    """Draw the mean IoU of masks and boxes, over the other axis, with 95 % bands over cases.

    Args:
        calibration: T' sampler steps and L layers of N cases.

    Returns:
        HxWx3 uint8: left by sampler step (mean over all layers), right by layer (mean over the
        steps); a dotted line marks the chosen cell.

    [0] Refine-by-Align, mIoU across timesteps and across layers.
    """
    figure = Figure(figsize=(13.0, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    by_step, by_layer = figure.subplots(1, 2)
    step, layer = calibration.best
    _curves(by_step, calibration.scores.mean(axis=3), calibration.steps, step)
    by_step.set_xlabel(f"sampler step of {calibration.num_inference_steps} (0 = the noisiest)")
    by_step.set_title("mIoU by step, mean over the layers")
    layers = range(calibration.scores.shape[3])
    _curves(by_layer, calibration.scores.mean(axis=2), layers, layer)
    by_layer.set_xlabel("layer")
    by_layer.set_title("mIoU by layer, mean over the steps")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _curves(axes: Axes, scores: np.ndarray, places: Sequence[int], chosen: int) -> None:
    """Draw [N, 2, P] IoUs of masks and boxes over P places."""
    for index, (name, colour) in enumerate((("box", _BOX), ("mask", _MASK))):
        rows = [mean_interval(scores[:, 1 - index, place].tolist()) for place in range(len(places))]
        axes.fill_between(
            places, [row.low for row in rows], [row.high for row in rows], color=colour, alpha=0.15
        )
        axes.plot(places, [row.value for row in rows], "o-", color=colour, label=name, markersize=4)
    axes.axvline(chosen, color=_CHOSEN, linestyle=":", label="chosen")
    axes.set_ylabel("mIoU")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    axes.legend()
