"""Plots of what `rba.data.shard_description` measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rba.data.shard_description import LABELS

_COLUMNS = 3
_RANGE_OF_LOG = 50.0  # quantities whose 0.95 quantile is so many times the 0.05 one get a log axis


def draw_description(path: Path, title: str, values: Mapping[str, Sequence[float]]) -> None:
    """Write a PNG of histograms, one a quantity, with median and 0.05 to 0.95 quantile."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in LABELS if values.get(name)]
    rows = -(-len(names) // _COLUMNS)
    figure, grid = plt.subplots(
        rows, _COLUMNS, figsize=(4.4 * _COLUMNS, 2.9 * rows + 0.4), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    figure.suptitle(title)
    for axes, name in zip(grid.flat, names, strict=False):
        table = np.asarray(values[name], np.float64)
        axes.set(xlabel=LABELS[name], ylabel="records")
        if table.min() == table.max():
            axes.text(0.5, 0.5, f"all {table[0]:.4g}", ha="center", transform=axes.transAxes)
            axes.set(xticks=[], yticks=[])
            continue
        low, middle, high = np.quantile(table, [0.05, 0.5, 0.95])
        logarithmic = low > 0 and high > _RANGE_OF_LOG * low
        bins = np.geomspace(table[table > 0].min(), table.max(), 41) if logarithmic else 40
        axes.hist(table, bins=bins, color="#4477aa")
        if logarithmic:
            axes.set_xscale("log")
        axes.axvline(middle, color="#cc3311", label=f"median {middle:.4g}")
        axes.axvspan(low, high, color="#999999", alpha=0.2, label=f"90 %: {low:.3g} to {high:.3g}")
        axes.legend(fontsize="small")
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
