"""A report's figures as text."""

from collections.abc import Mapping
from typing import Any

_NAME = 40  # characters, the column of names
_ALIGNMENT = {"miou": "mIoU", "hit_rate": "hit"}
_FIDELITY = {"psnr_in_hole": "PSNR dB", "ssim_in_hole": "SSIM"}
_FORMS = {"psnr_in_hole": "{:.2f}"} | dict.fromkeys((*_ALIGNMENT, "ssim_in_hole"), "{:.3f}")


def summary(metrics: Mapping[str, Any]) -> str:
    """Return the figures as small tables, each mean with its 95 % interval over the cases."""
    lines: list[str] = []
    if "calibration" in metrics:
        lines += _calibration(metrics["calibration"])
    lines += [
        f"alignment on {metrics['num_pairs']} pairs (95 % intervals over the cases)",
        *_table(metrics["alignment"], _ALIGNMENT),
        *_comparisons(metrics["comparisons"]["alignment"], "miou", "{:+.3f}", "mIoU"),
    ]
    if metrics["num_refined"]:
        comparisons = metrics["comparisons"]["refinement"]
        lines += [
            f"\nrefinement of {metrics['num_refined']} of them, in the hole",
            *_table(metrics["refinement"], _FIDELITY),
            *_comparisons(comparisons, "psnr_in_hole", "{:+.2f}", "PSNR dB"),
        ]
    for name, group in metrics["subsets"].items():
        lines += _subset(name, group)
    if metrics["num_refined"]:
        changed = metrics["max_change_outside_mask"]
        lines.append(f"\nlargest change outside the feathered mask: {changed}")
    return "\n".join(["", *lines])


def _calibration(calibration: Mapping[str, Any]) -> list[str]:
    lines = [
        f"calibrated on {calibration['num_cases']} cases: sampler step "
        f"{calibration['sampler_step_index']}, layer {calibration['layer']}, "
        f"mIoU {calibration['miou']:.3f}"
    ]
    halves = calibration["halves"]
    if halves is not None:
        for name in ("even", "odd"):
            half = halves[name]
            lines.append(
                f"  {name} cases alone: step {half['sampler_step_index']}, layer {half['layer']}, "
                f"mIoU {half['miou']:.3f}; on the other half {half['miou_elsewhere']:.3f}"
            )
        correlation = halves["rank_correlation"]
        shown = "unknown" if correlation is None else f"{correlation:.3f}"
        lines.append(f"  rank correlation of the halves' cells: {shown}")
    return [*lines, ""]


def _table(rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    head = "".join(f"{title:>8} {'':18}" for title in columns.values())
    return [
        f"{'':{_NAME}}{head}".rstrip(),
        *(
            f"{name.replace('_', ' '):{_NAME}}"
            + "".join(_figure(scores, column, _FORMS[column]) for column in columns).rstrip()
            for name, scores in rows.items()
        ),
    ]


def _comparisons(
    rows: Mapping[str, Mapping[str, Any]], figure: str, form: str, title: str
) -> list[str]:
    return [
        f"{name.replace('_', ' '):{_NAME}}"
        + _figure(scores, figure, "{:.2f}" if "_over_" in name else form)
        + ("times" if "_over_" in name else title)
        for name, scores in rows.items()
    ]


def _subset(name: str, group: Mapping[str, Any]) -> list[str]:
    title = {"look_alikes": "with", "no_look_alikes": "without"}[name]
    comparisons = group["comparisons"]
    lines = [f"\nobjects {title} look-alike places: {group['num_pairs']} pairs"]
    lines += _table(group["alignment"], _ALIGNMENT)
    lines += _comparisons(comparisons["alignment"], "miou", "{:+.3f}", "mIoU")
    return lines + _comparisons(comparisons["refinement"], "psnr_in_hole", "{:+.2f}", "PSNR dB")


def _figure(scores: Mapping[str, Any], name: str, form: str) -> str:
    value, interval = scores[name], scores[f"{name}_interval"]
    shown = "-" if value is None else form.format(value)
    bounds = "" if interval is None else f"[{', '.join(form.format(b) for b in interval)}]"
    return f"{shown:>8} {bounds:18}"
