"""Loops in strict alternation by the processor's time, and the JSON that their figures go to."""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "opencv-python-headless", "simplejpeg", "pillow", "scikit-image", "webdataset")

Seconds = dict[str, list[float]]


def take_turns(loops: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Run each loop once for what is made at the first call, then all in turn, and time them.

    Every second round goes backwards, so that no loop always follows the same one.

    Returns:
        Processor seconds of each loop, a value a round.
    """
    for loop in loops.values():
        loop()
    seconds: Seconds = {name: [] for name in loops}
    for number in range(rounds):
        for name in list(loops)[:: -1 if number % 2 else 1]:
            started = time.process_time()
            loops[name]()
            seconds[name].append(time.process_time() - started)
    return seconds


def rates(seconds: Seconds, count: int, ours: str = "ours") -> dict[str, Any]:
    """Return each loop's items a second of one core, and ours over each other's, round by round."""
    rows: dict[str, Any] = {
        name: spread([count / s for s in taken]) for name, taken in seconds.items()
    }
    for name, taken in seconds.items():
        if name != ours:
            pairs = zip(seconds[ours], taken, strict=True)
            rows[f"{ours}/{name}"] = spread([theirs / mine for mine, theirs in pairs])
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Return median, least and most."""
    return {"median": float(np.median(values)), "least": min(values), "most": max(values)}


def show(title: str, row: Mapping[str, Any], unit: str) -> None:
    """Print the rates and ratios of one case."""
    cells: list[str] = []
    for name, value in row.items():
        if isinstance(value, dict) and "median" in value:
            least, middle, most = (value[key] for key in ("least", "median", "most"))
            cells.append(
                f"{name} {middle:.4g} ({least:.4g}-{most:.4g})"
                + ("" if "/" in name else f" {unit}")
            )
    print(f"{title:<34} " + ", ".join(cells), flush=True)


def keep(
    name: str, facts: Mapping[str, Any], load: tuple[float, float, float], command: str
) -> None:
    """Write a benchmark's figures, with the machine's load before and after, to its JSON."""
    from loader import machine  # it imports torch: not before the loops are timed

    run = {
        "command": command,
        "at": datetime.now().isoformat(timespec="minutes"),
        "load_before": load,
        "load_after": os.getloadavg(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine(PACKAGES), "run": run, **facts}, indent=1) + "\n"
    )
    print(f"written to {path}")
