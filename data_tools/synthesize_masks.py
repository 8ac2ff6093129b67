"""Synthesize artifact masks: python data_tools/synthesize_masks.py out=DIR count=N profile=pal."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks import MaskStatistics, generate_mask, load_profile, mask_statistics
from rba.pictures import write_png
from rba.settings import tool_main

_SHEET_SIDE = 6
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# The paper's only figure: more than half of PAL's masks lie below this share (appendix A.2).
_PAPER_AREA_RATIO = 0.04


def summarise(statistics: list[MaskStatistics]) -> dict[str, object]:
    """Return quantiles of every statistic, and the share of masks below 4 % of the image."""
    quantiles = {
        field.name: {
            f"q{round(100 * q)}": float(
                np.quantile([getattr(s, field.name) for s in statistics], q)
            )
            for q in _QUANTILES
        }
        for field in dataclasses.fields(MaskStatistics)
    }
    small = float(np.mean([s.area_ratio < _PAPER_AREA_RATIO for s in statistics]))
    return {"count": len(statistics), "share_below_4_percent": small, **quantiles}


def draw_report(path: Path, statistics: list[MaskStatistics], masks: list[np.ndarray]) -> None:
    """Draw a histogram of the area ratio beside a sheet of masks (as the appendix's figure 8)."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(12, 5.5), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1, 1.05))
    left, right = panels
    axes = left.subplots()
    areas = [100 * s.area_ratio for s in statistics]
    axes.hist(areas, bins=40, color="#4477aa")
    axes.axvline(float(np.median(areas)), color="#cc3311", label=f"median {np.median(areas):.2f} %")
    axes.axvline(100 * _PAPER_AREA_RATIO, color="#777777", linestyle="--", label="4 %")
    axes.set(xlabel="area of the mask, % of the image", ylabel="masks")
    axes.legend()
    for cell, mask in zip(right.subplots(_SHEET_SIDE, _SHEET_SIDE).flat, masks, strict=False):
        cell.imshow(mask, cmap="gray", vmin=0, vmax=1)
    for cell in right.axes:
        cell.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(config: DictConfig) -> None:
    """Write the masks and their report."""
    if config.count < 1 or config.size < 16:
        raise InputError(f"count={config.count} size={config.size}: give at least 1 and 16")
    profile = load_profile(config.profile).scaled(config.area_factor)
    out = Path(config.out).expanduser()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not config.overwrite)):
        raise InputError(f"{out} is not an empty folder; give another, or overwrite=true")
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("mask-*.png"):
        path.unlink()
    statistics: list[MaskStatistics] = []
    shown: list[np.ndarray] = []
    for index in tqdm(range(config.count), desc="masks", unit="mask"):
        rng = keyed_generator(config.seed, "mask", "synthesize", index)
        mask = generate_mask(profile, rng, config.size, config.size)
        write_png(out / f"mask-{index:06d}.png", mask)
        statistics.append(mask_statistics(mask))
        if len(shown) < _SHEET_SIDE**2:
            shown.append(mask)
    summary = {"profile": profile.name, "size": config.size, "seed": config.seed}
    summary |= summarise(statistics)
    (out / "statistics.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    draw_report(out / "report.png", statistics, shown)
    median = 100 * float(np.median([s.area_ratio for s in statistics]))
    print(f"{config.count} masks in {out}: median area {median:.2f} % of the image")


if __name__ == "__main__":
    tool_main("synthesize_masks", main)
