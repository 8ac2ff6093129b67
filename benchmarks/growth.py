"""How a cost grows: measured points with fitted exponents in `results/growth/`, and a picture.

python benchmarks/growth.py draws what is there into docs/performance/growth.png and prints the
exponents. The benchmarks that measure growth call `keep_growth`.

The exponent is the slope of log cost over log size by least squares; a fixed cost pulls it towards
0, so the slope between the two largest points stands beside it. 1 is linear.
"""

import json
import math
import re
import textwrap
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "growth"
PICTURE = Path(__file__).parents[1] / "docs" / "performance" / "growth.png"
COLUMNS = 4


def fit_exponent(points: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the exponents of all points and of the two largest.

    Args:
        points: Size and cost, each above 0, at least two of different sizes.

    Raises:
        ValueError: Where no line can be laid through the points.
    """
    if len({size for size, _ in points}) < 2 or any(min(point) <= 0 for point in points):
        raise ValueError(f"an exponent needs two sizes and costs above 0, these are {points}")
    ordered = sorted(points)
    size, cost = (np.log([point[k] for point in ordered]) for k in (0, 1))
    slope = float(np.polyfit(size, cost, 1)[0])
    (before, lower), (last, upper) = _medians(ordered)[-2:]
    return {
        "exponent": round(slope, 3),
        "last": round(math.log(upper / lower) / math.log(last / before), 3),
    }


def keep_growth(
    name: str,
    points: Sequence[tuple[float, float]],
    *,
    size: str,
    cost: str,
    command: str,
    machine: dict[str, Any],
    folder: Path = RESULTS,
) -> dict[str, float]:
    """Write one curve to a file named after it and return its exponents.

    Args:
        name: What grows, for people: the title of its plot.
        points: Size and cost of each measurement, medians.
        size: What the size counts, with its unit.
        cost: What the cost counts, with its unit.
        command: The command that measures it again.
        machine: Processor, cores and versions.
        folder: Where the curves are.
    """
    fitted = fit_exponent(points)
    curve = {
        "name": name,
        "size": size,
        "cost": cost,
        "points": [list(point) for point in sorted(points)],
        **fitted,
        "command": command,
        "date": str(date.today()),
        "machine": machine,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.json"
    file.write_text(json.dumps(curve, indent=1) + "\n")
    return fitted


def draw(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw each curve on logarithmic axes beside a linear one through its last point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(curves) / COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 3.1 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)  # pyright: ignore
    FigureCanvasAgg(figure)
    for place, curve in enumerate(curves, 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        sizes, costs = zip(*curve["points"], strict=True)
        linear = [costs[-1] * size / sizes[-1] for size in sizes]
        axes.loglog(sizes, linear, color="0.75", linestyle="--", label="linear")
        axes.loglog(sizes, costs, marker="o", color="tab:blue")
        axes.set_ylim(min(costs) / 2, max(costs) * 2)
        name = "\n".join(textwrap.wrap(curve["name"], 36))
        fitted = f"exponent {curve['exponent']:.2f}, last two {curve['last']:.2f}"
        axes.set_title(f"{name}\n{fitted}", fontsize=9)
        axes.set_xlabel(curve["size"], fontsize=9)
        axes.set_ylabel(curve["cost"], fontsize=9)
        axes.grid(alpha=0.3, which="both")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _medians(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return one point a size."""
    sizes = sorted({size for size, _ in points})
    return [(s, float(np.median([cost for size, cost in points if size == s]))) for s in sizes]


def main() -> None:
    """Draw what was measured."""
    curves = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    draw(curves, PICTURE)
    for curve in curves:
        print(f"{curve['name']:45s} {curve['exponent']:6.2f} (last two {curve['last']:.2f})")
    print(f"drawn: {PICTURE}")


if __name__ == "__main__":
    main()
