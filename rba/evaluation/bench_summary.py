"""The table in the terminal."""

from collections.abc import Mapping
from typing import Any

_COLUMNS = ("iou_mask", "hit", "psnr_hole_db", "ssim_hole", "change_outside", "seam")


def bench_summary(figures: Mapping[str, Any]) -> str:
    """Return the pooled table as lines: a row a method, mean [low, high] of the main figures."""
    bench = figures["bench"]
    shown = [name for name in _COLUMNS if _is_shown(figures, name)]
    lines = [
        f"{bench['cases']} cases of {bench['name']}: "
        + ", ".join(f"{count} {task}" for task, count in bench["tasks"].items()),
    ]
    calibration = figures["calibration"]
    if calibration is not None:
        lines.append(
            f"cell chosen on {calibration['num_cases']} other cases: sampler step "
            f"{calibration['sampler_step_index']}, layer {calibration['layer']}"
        )
    width = max(map(len, figures["methods"]), default=6)
    lines += ["", "  ".join(["method".ljust(width), *(name.ljust(24) for name in shown)]).rstrip()]
    for name, row in figures["methods"].items():
        cells = [_cell(row["pooled"][metric]) for metric in shown]
        notes = [
            f"{row['fallbacks']} fallbacks" if row["fallbacks"] else "",
            f"{len(row['failures'])} failed" if row["failures"] else "",
        ]
        text = "  ".join([name.ljust(width), *(cell.ljust(24) for cell in cells)])
        lines.append(f"{text}{', '.join(note for note in notes if note)}".rstrip())
    lines += [f"{name}: left out: {reason}" for name, reason in figures["left_out"].items()]
    lines += [
        f"{name}: not computed: {metric['skipped']}"
        for name, metric in figures["metrics"].items()
        if metric["skipped"] is not None
    ]
    return "\n".join(lines)


def _is_shown(figures: Mapping[str, Any], name: str) -> bool:
    return figures["metrics"].get(name, {"skipped": ""})["skipped"] is None


def _cell(figure: Mapping[str, float | None]) -> str:
    if figure["mean"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['mean']:.3f}"
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
