"""Every figure of a report as the model card's tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.evaluation.comparison import ALIGNMENT_PAIRS, REFINEMENT_PAIRS, pair_name
from rba.evaluation.conditions import CONDITIONS
from rba.evaluation.markdown import figure, number, table, words
from rba.evaluation.report import BASELINES

_ALIGNMENT = ("miou", "hit_rate", "box_miou", "miou_at_truth_area", "fallback_share")
_FIDELITY = ("psnr_in_hole", "ssim_in_hole")
_SUBSETS = {
    "look_alikes": "objects with look-alike places",
    "no_look_alikes": "objects without look-alike places",
}
_FACTS = (
    "max_change_outside_mask",
    "median_artifact_area_share",
    "median_feathered_area_share",
)
_SECONDS = ("align_per_case", "refine_per_case", "total")
_TRUTH = ("num_unknown", "median_share_of_reference", "median_share_of_object")


def read_figures(path: Path) -> list[str]:
    """Return `card_figures` of a file.

    Raises:
        InputError: If it is not there or not a report of `rba evaluate`.
    """
    try:
        metrics = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"--figures {path}: {error}; give metrics.json of `rba evaluate`"
        ) from error
    if not isinstance(metrics, dict):
        raise InputError(f"--figures {path} is no report; give metrics.json of `rba evaluate`")
    return card_figures(metrics)


def card_figures(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines of the section "Figures".

    Args:
        metrics: ``metrics.json`` of `rba evaluate`; what it lacks is "not measured".
    """
    intervals = metrics.get("intervals", {})
    return [
        "",
        "## Figures",
        "",
        f"On the test objects. Means with bootstrap intervals over the cases (confidence "
        f"{number(intervals.get('confidence'))}, {number(intervals.get('num_resamples'))} "
        "resamples); PSNR in dB, in the hole.",
        "",
        *_group(metrics, "all objects"),
        *(
            line
            for name, title in _SUBSETS.items()
            for line in _group(metrics.get("subsets", {}).get(name, {}), title)
        ),
        *_calibration(metrics.get("calibration", {})),
        "### Facts",
        "",
        *table(
            ("fact", "value"),
            [
                *((words(name), number(metrics.get(name))) for name in _FACTS),
                *(
                    (f"truth: {words(name)}", number(metrics.get("truth", {}).get(name)))
                    for name in _TRUTH
                ),
                *(
                    (f"seconds: {words(name)}", number(metrics.get("seconds", {}).get(name)))
                    for name in _SECONDS
                ),
            ],
        ),
    ]


def _group(group: Mapping[str, Any], title: str) -> list[str]:
    """Return both stages' figures and comparisons over one set of cases."""
    comparisons = group.get("comparisons", {})
    counts = f"{number(group.get('num_pairs'))} pairs aligned"
    return [
        f"### {title[0].upper()}{title[1:]}",
        "",
        f"{counts}, {number(group.get('num_refined'))} refined.",
        "",
        *_methods(group.get("alignment", {}), ("model", *BASELINES), _ALIGNMENT),
        "",
        *_comparisons(comparisons.get("alignment", {}), ALIGNMENT_PAIRS, "miou"),
        "",
        *_methods(group.get("refinement", {}), CONDITIONS, _FIDELITY),
        "",
        *_comparisons(comparisons.get("refinement", {}), REFINEMENT_PAIRS, "psnr_in_hole"),
        "",
    ]


def _methods(
    measured: Mapping[str, Any], expected: Sequence[str], columns: Sequence[str]
) -> list[str]:
    names = dict.fromkeys((*expected, *measured))
    rows = [
        (words(name), *(figure(measured.get(name), column) for column in columns)) for name in names
    ]
    return table(("", *map(words, columns)), rows)


def _comparisons(
    measured: Mapping[str, Any], pairs: Sequence[tuple[str, Any, str]], name: str
) -> list[str]:
    rows: list[tuple[str, str]] = []
    for first, kind, second in pairs:
        pair = pair_name(first, kind, second)
        form = "{:.2f}" if kind == "ratio" else None
        rows.append((words(pair), figure(measured.get(pair), name, form)))
    return table(("paired comparison", words(name)), rows)


def _calibration(calibration: Mapping[str, Any]) -> list[str]:
    halves: Mapping[str, Any] = calibration.get("halves") or {}
    rows: list[tuple[str, ...]] = [
        _cell("all cases", calibration, "-"),
        *(
            _cell(f"{name} cases", half, number(half.get("miou_elsewhere")))
            for name in ("even", "odd")
            for half in (halves.get(name) or {},)
        ),
    ]
    return [
        "### Calibration",
        "",
        "Sampler step and layer were chosen on other rendered objects of the training pictures; "
        "the halves of those cases choose on their own and are scored on one another.",
        "",
        *table(("chosen on", "cases", "sampler step", "layer", "mIoU", "on the other half"), rows),
        "",
        f"Same choice of both halves: {number(halves.get('same_cell'))}; rank correlation of "
        f"their cells: {number(halves.get('rank_correlation'))}.",
        "",
    ]


def _cell(title: str, cell: Mapping[str, Any], elsewhere: str) -> tuple[str, ...]:
    shown = (number(cell.get(name)) for name in ("num_cases", "sampler_step_index", "layer"))
    return (title, *shown, number(cell.get("miou")), elsewhere)
