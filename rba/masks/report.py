"""Reports on populations of masks: quantiles, distances between two, and their pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rba.masks.population import Measured
from rba.masks.statistics import STATISTICS, MaskStatistics

_SHEET_SIDE = 6
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# The paper's only figure: more than half of PAL's masks lie below this share (appendix A.2).
_PAPER_AREA_RATIO = 0.04
_IN_LOGARITHM = ("area_ratio", "num_components", "spread")
_GIVEN, _FITTED = "#444444", "#cc3311"

Columns = Mapping[str, np.ndarray]


def columns(statistics: Sequence[MaskStatistics]) -> dict[str, np.ndarray]:
    """Return the values of each statistic as an array."""
    return {
        name: np.array([getattr(s, name) for s in statistics], np.float64) for name in STATISTICS
    }


def summarise(statistics: Sequence[MaskStatistics]) -> dict[str, Any]:
    """Return the count, the share of masks below 4 % of the image, quantiles of every statistic."""
    quantiles = {
        name: {f"q{round(100 * q)}": float(np.quantile(values, q)) for q in _QUANTILES}
        for name, values in columns(statistics).items()
    }
    small = float(np.mean([s.area_ratio < _PAPER_AREA_RATIO for s in statistics]))
    return {"count": len(statistics), "share_below_4_percent": small, **quantiles}


def distances(
    first: Sequence[MaskStatistics], second: Sequence[MaskStatistics]
) -> dict[str, float]:
    """Return the two-sample Kolmogorov-Smirnov distance of every statistic, in [0, 1]."""
    a, b = columns(first), columns(second)
    return {name: ks_distance(a[name], b[name]) for name in STATISTICS}


def ks_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference between two empirical distribution functions."""
    both = np.sort(np.concatenate([first, second]))
    below = [np.searchsorted(np.sort(each), both, side="right") for each in (first, second)]
    return float(np.abs(below[0] / len(first) - below[1] / len(second)).max())


def distance_table(fitted: Mapping[str, float], floor: Mapping[str, float]) -> str:
    """Return a text table: fitted to given, and one half of the given to the other."""
    lines = [f"{'KS distance':18s}{'fitted':>8s}{'floor':>8s}"]
    lines += [f"{name:18s}{fitted[name]:8.3f}{floor[name]:8.3f}" for name in STATISTICS]
    return "\n".join(lines)


def draw_report(path: Path, measured: Sequence[Measured]) -> None:
    """Draw a histogram of the area ratio beside a sheet of masks (as the appendix's figure 8)."""
    figure: Any = _new_figure(12, 5.5)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.05))
    axes = left.subplots()
    areas = 100 * np.array([m.statistics.area_ratio for m in measured if m.statistics is not None])
    median = float(np.median(areas))
    axes.hist(areas, bins=40, color="#4477aa")
    axes.axvline(median, color=_FITTED, label=f"median {median:.2f} %")
    axes.axvline(100 * _PAPER_AREA_RATIO, color="#777777", linestyle="--", label="4 %")
    axes.set(xlabel="area of the mask, % of the image", ylabel="masks")
    axes.legend()
    _draw_sheet(right, measured)
    _save(figure, path)


def draw_comparison(path: Path, given: Sequence[Measured], fitted: Sequence[Measured]) -> None:
    """Draw the distributions of all statistics, given and fitted, above a sheet of each."""
    figure: Any = _new_figure(14, 16)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    ours, theirs = (
        columns([m.statistics for m in each if m.statistics is not None])
        for each in (fitted, given)
    )
    for axes, name in zip(upper.subplots(3, 3).flat, STATISTICS, strict=True):
        for values, color, label in (
            (theirs[name], _GIVEN, "given"),
            (ours[name], _FITTED, "fitted"),
        ):
            shares = np.arange(1, len(values) + 1) / len(values)
            axes.step(np.sort(values), shares, where="post", color=color, label=label)
        distance = ks_distance(ours[name], theirs[name])
        axes.set(title=f"{name.replace('_', ' ')}: KS {distance:.3f}", ylim=(0, 1))
        if name in _IN_LOGARITHM and min(ours[name].min(), theirs[name].min()) > 0:
            axes.set_xscale("log")
    upper.axes[0].set_ylabel("share of the masks below")
    upper.axes[0].legend()
    for panel, title, each in zip(
        lower.subfigures(1, 2), ("given", "fitted"), (given, fitted), strict=True
    ):
        panel.suptitle(title)
        _draw_sheet(panel, each)
    _save(figure, path)


def _draw_sheet(panel: Any, measured: Sequence[Measured]) -> None:
    shown = [m.preview for m in measured if m.preview is not None]
    # Evenly from the whole set: folders are sorted, neighbours often belong together.
    count = min(_SHEET_SIDE**2, len(shown))
    chosen = [shown[k * len(shown) // count] for k in range(count)]
    cells = panel.subplots(_SHEET_SIDE, _SHEET_SIDE).flat
    for cell, picture in zip(cells, chosen, strict=False):
        cell.imshow(picture, cmap="gray", vmin=0, vmax=255)
    for cell in panel.axes:
        cell.set(xticks=[], yticks=[])


def _new_figure(width: float, height: float) -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
