"""Ablations beside one another: what each trained on, and what it can do."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rba.evaluation.comparison import pair_name
from rba.evaluation.conditions import CONDITIONS, RIGHT
from rba.evaluation.markdown import figure, number, table, words

_FIGURES = ("miou", "miou_interval", "hit_rate", "hit_rate_interval")
_OVER_UNIFORM = pair_name("model", "ratio", "uniform")
_USES = ("wrong_reference", "no_reference")  # what the right reference is held against


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
    lines = [
        "# Ablations",
        "",
        "Each from random weights on equally many samples, measured on the same held-out objects; "
        "95 % intervals over the cases in brackets, of the same cases where two are compared.",
        "",
        "Alignment:",
        "",
        *table(
            ("trained with", "samples", "layer", "mIoU", "over uniform", "hit"),
            map(_alignment, ablations),
        ),
        "",
        "PSNR in the hole (dB), and what the right reference is worth:",
        "",
        *table(
            (
                "trained with",
                *map(words, CONDITIONS),
                *(f"right minus {words(name)}" for name in _USES),
            ),
            map(_refinement, ablations),
        ),
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
            "comparisons": ablation.metrics.get("comparisons", {}),
        }
        for ablation in ablations
    }


def _alignment(ablation: Ablation) -> list[str]:
    over_uniform = _compared(ablation, "alignment", _OVER_UNIFORM)
    return [
        words(ablation.name),
        ", ".join(f"{number(n)} {mode}" for mode, n in ablation.samples.items() if n),
        number(ablation.metrics.get("calibration", {}).get("layer")),
        figure(_model(ablation), "miou"),
        figure(over_uniform, "miou", "{:.2f}"),
        figure(_model(ablation), "hit_rate"),
    ]


def _refinement(ablation: Ablation) -> list[str]:
    return [
        words(ablation.name),
        *(figure(_fidelity(ablation, name), "psnr_in_hole") for name in CONDITIONS),
        *(
            figure(
                _compared(ablation, "refinement", pair_name(RIGHT, "difference", name)),
                "psnr_in_hole",
            )
            for name in _USES
        ),
    ]


def _model(ablation: Ablation) -> Mapping[str, Any]:
    return ablation.metrics.get("alignment", {}).get("model", {})


def _fidelity(ablation: Ablation, condition: str) -> Mapping[str, Any]:
    return ablation.metrics.get("refinement", {}).get(condition, {})


def _compared(ablation: Ablation, stage: str, pair: str) -> Mapping[str, Any]:
    return ablation.metrics.get("comparisons", {}).get(stage, {}).get(pair, {})
