"""Synthesize artifact masks: python data_tools/synthesize_masks.py out=DIR count=N profile=pal."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rba.errors import InputError
from rba.masks import load_profile
from rba.masks.population import in_parallel
from rba.masks.report import draw_report, summarise
from rba.masks.synthesis import Synthesis, list_pictures
from rba.settings import tool_main


def main(config: DictConfig) -> None:
    """Write the masks and their report."""
    if config.count < 1 or config.size < 16 or not config.aspect > 0:
        raise InputError(
            f"count={config.count} size={config.size} aspect={config.aspect}: give at least 1, 16 "
            "and above 0"
        )
    profile = load_profile(config.profile).scaled(config.area_factor)
    width = max(round(config.size * config.aspect), 16)
    out = Path(config.out).expanduser()
    pictures = () if config.pictures is None else list_pictures(config.pictures)
    size = (config.size, width)
    synthesis = Synthesis(profile, config.seed, *size, out, config.place, pictures)
    results = in_parallel(synthesis, range(config.count), config.workers)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not config.overwrite)):
        raise InputError(f"{out} is not an empty folder; give another, or overwrite=true")
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("mask-*.png"):
        path.unlink()
    measured = list(tqdm(results, total=config.count, desc="masks", unit="mask"))
    statistics = [m.statistics for m in measured if m.statistics is not None]
    summary: dict[str, Any] = {"profile": profile.name, "size": size, "seed": config.seed}
    summary["place"] = config.place
    summary |= summarise(statistics)
    if pictures:
        summary["placed_on"] = {m.name: m.picture for m in measured}
        summary["skipped_pictures"] = sorted({text for m in measured for text in m.skipped})
    (out / "statistics.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    draw_report(out / "report.png", measured)
    median = 100 * summary["area_ratio"]["q50"]
    print(f"{config.count} masks in {out}: median area {median:.2f} % of the image")


if __name__ == "__main__":
    tool_main("synthesize_masks", main)
