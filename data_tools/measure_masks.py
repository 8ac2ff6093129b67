"""Measure masks, fit a profile: python data_tools/measure_masks.py masks=DIR out=DIR fit=true."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rba.errors import InputError
from rba.masks import save_profile
from rba.masks.comparison import Comparison, compare_fit, fit_population
from rba.masks.population import Measured, measure_folder
from rba.masks.report import distance_table, draw_comparison, draw_report, summarise
from rba.settings import tool_main

_FILES = ("statistics.json", "report.png", "profile.yaml", "comparison.json", "comparison.png")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def left_out(measured: list[Measured]) -> dict[str, list[str]]:
    """Return the names of the masks that were left out, by reason."""
    faults: dict[str, list[str]] = {}
    for mask in measured:
        if mask.fault:
            faults.setdefault(mask.fault, []).append(mask.name)
    return faults


def fit(config: DictConfig, measured: list[Measured], out: Path) -> None:
    """Write the profile, and what it makes of a half of the masks beside the other half."""
    name = config.name or Path(config.masks).expanduser().resolve().name
    found: Comparison = compare_fit(
        measured, name, config.longest_side, config.seed, config.workers
    )
    profile = fit_population(measured, name, config.longest_side)
    comment = (
        f"Fitted by measure_masks.py to {len(measured)} masks. Distributions and parameters only.\n"
        "Statistics: see rba/masks/statistics.py; tables hold pairs [probability, value]."
    )
    save_profile(profile, out / "profile.yaml", comment)
    write_json(
        out / "comparison.json",
        {
            "fitted_on": found.fitted_on,
            "held_out": len(found.given),
            "synthesized": len(found.fitted),
            "size": found.size,
            "seed": config.seed,
            "ks_distance": {"fitted": found.distances, "floor": found.floor},
        },
    )
    draw_comparison(out / "comparison.png", found.given, found.fitted)
    print(f"Fitted on {found.fitted_on} masks, compared with the other {len(found.given)}:")
    print(distance_table(found.distances, found.floor))
    print("floor: the distance between the two halves of the given masks")


def main(config: DictConfig) -> None:
    """Measure, report, and fit where asked for."""
    if config.longest_side < 64:
        raise InputError(f"longest_side={config.longest_side}; give at least 64 pixels")
    out = Path(config.out).expanduser()
    results = measure_folder(config.masks, config.workers)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not config.overwrite)):
        raise InputError(f"{out} is not an empty folder; give another, or overwrite=true")
    everything = list(tqdm(results, desc="masks", unit="mask"))
    measured = [mask for mask in everything if mask.statistics is not None]
    faults = left_out(everything)
    counts = ", ".join(f"{len(names)} {fault}" for fault, names in sorted(faults.items()))
    if not measured:
        raise InputError(f"masks={config.masks} holds no usable mask: {counts}")
    out.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    summary = summarise([m.statistics for m in measured if m.statistics is not None])
    write_json(out / "statistics.json", {"masks": str(config.masks), **summary, "left_out": faults})
    draw_report(out / "report.png", measured)
    median = 100 * summary["area_ratio"]["q50"]
    print(
        f"{len(measured)} masks: median area {median:.2f} % of the image; left out: {counts or 0}"
    )
    if config.fit:
        fit(config, measured, out)


if __name__ == "__main__":
    tool_main("measure_masks", main)
