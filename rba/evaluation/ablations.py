"""Ablations beside one another: what each trained on, and what it can do."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rba.evaluation.conditions import CONDITIONS
from rba.evaluation.markdown import figure, number, table, words

_FIGURES = ("miou", "miou_interval", "hit_rate", "hit_rate_interval")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """One training and its report.

    Attributes:
        name: What was changed.
        samples: Samples seen by mode.
        metrics: ``metrics.json`` of its report.
    """

    name: str
    samples: Mapping[str, int]
    metrics: Mapping[str, Any]


def ablation_table(ablations: Sequence[Ablation]) -> str:
    """Return the figures as Markdown, a row an ablation, each mean with its 95 % interval."""
    head = ["ablation", "samples", "layer", "mIoU", "hit", *map(words, CONDITIONS)]
    rows = [
        [
            words(ablation.name),
            ", ".join(f"{number(n)} {mode}" for mode, n in ablation.samples.items() if n),
            number(ablation.metrics.get("calibration", {}).get("layer")),
            *(figure(_model(ablation), name) for name in ("miou", "hit_rate")),
            *(figure(_fidelity(ablation, name), "psnr_in_hole") for name in CONDITIONS),
        ]
        for ablation in ablations
    ]
    lines = [
        "# Ablations",
        "",
        "Each from random weights on equally many samples, measured on the same held-out objects.",
        "Mean IoU and hit rate of the alignment; PSNR in the hole (dB) of the refinement by "
        "condition; 95 % intervals over the cases in brackets.",
        "",
        *table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def ablation_figures(ablations: Sequence[Ablation]) -> dict[str, Any]:
    """Return the table's figures, JSON-serialisable, by ablation."""
    return {
        ablation.name: {
            "samples": dict(ablation.samples),
            "layer": ablation.metrics.get("calibration", {}).get("layer"),
            "alignment": {name: _model(ablation).get(name) for name in _FIGURES},
            "refinement": {
                condition: {
                    name: _fidelity(ablation, condition).get(name)
                    for name in ("psnr_in_hole", "psnr_in_hole_interval")
                }
                for condition in CONDITIONS
            },
        }
        for ablation in ablations
    }


def _model(ablation: Ablation) -> Mapping[str, Any]:
    return ablation.metrics.get("alignment", {}).get("model", {})


def _fidelity(ablation: Ablation, condition: str) -> Mapping[str, Any]:
    return ablation.metrics.get("refinement", {}).get(condition, {})
