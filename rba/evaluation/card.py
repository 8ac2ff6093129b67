"""The model card: how a model was made, and every figure of its report, as Markdown."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rba.evaluation.card_figures import card_figures
from rba.evaluation.markdown import number, table, words


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """One training of the model.

    Attributes:
        name: The stage.
        seed: Of its order and draws.
        max_steps: Optimiser steps.
        samples: Samples seen by mode.
        continued_from: Model whose weights it started from; None = random ones.
    """

    name: str
    seed: int
    max_steps: int
    samples: Mapping[str, int]
    continued_from: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """A photograph that objects were covered with."""

    name: str
    author: str
    licence: str
    heldout: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the card says beside the report's figures.

    Attributes:
        name: The model.
        commit: Of the code.
        commands: All that were run, in order, as typed.
        stages: In order.
        parameters: Number of parameters by part.
        architecture: The network's configuration as YAML.
        precision: Of the stored weights.
        image_size: Side of the crops at the network, pixels.
        data: Settings of the rendered sets, by set.
        photos: The pictures that objects were covered with.
        heldout_letters: Never printed in training.
        heldout_corners: Corners of the stars and polygons that were never printed in training.
    """

    name: str
    commit: str
    commands: Sequence[str]
    stages: Sequence[TrainedStage]
    parameters: Mapping[str, int]
    architecture: str
    precision: str
    image_size: int
    data: Mapping[str, Mapping[str, Any]]
    photos: Sequence[Photo]
    heldout_letters: Sequence[str]
    heldout_corners: Sequence[int]


def model_card(facts: CardFacts, metrics: Mapping[str, Any]) -> str:
    """Return ``README.md`` of a model directory.

    Args:
        facts: How the model was made.
        metrics: ``metrics.json`` of `rba evaluate`; what it lacks is "not measured".
    """
    lines = [
        *_introduction(facts),
        *_network(facts),
        *_training(facts),
        *_data(facts),
        *card_figures(metrics),
        *_limits(facts),
    ]
    return "\n".join(lines) + "\n"


def _introduction(facts: CardFacts) -> list[str]:
    return [
        f"# {facts.name}",
        "",
        "A model of reference-guided artifact refinement after Song et al., *Refine-by-Align*, "
        "ICLR 2025 (arXiv 2412.00306), trained from random weights on rendered objects with this "
        f"repository at commit `{facts.commit}`. It is not the authors' model, and far smaller: it "
        "lets every command run anywhere, and the figures below say, on exact truth, how far the "
        "method has come at this size. Licence of the weights: Apache-2.0, as of the code; the "
        "pictures it was trained on are listed below with theirs.",
        "",
        "```bash",
        f"rba refine --model {facts.name} --image image.png --mask mask.png "
        "--reference photo.jpg --output refined.png",
        "```",
    ]


def _network(facts: CardFacts) -> list[str]:
    rows = [(part, number(count)) for part, count in facts.parameters.items()]
    return [
        "",
        "## Architecture",
        "",
        *table(("part", "parameters"), [*rows, ("total", number(sum(facts.parameters.values())))]),
        "",
        f"Crops of {facts.image_size} px at the network; weights stored in {facts.precision}.",
        "",
        "```yaml",
        facts.architecture.rstrip(),
        "```",
    ]


def _training(facts: CardFacts) -> list[str]:
    modes = list(dict.fromkeys(mode for stage in facts.stages for mode in stage.samples))
    rows = [
        (
            stage.name,
            stage.continued_from or "random weights",
            number(stage.seed),
            number(stage.max_steps),
            *(number(stage.samples.get(mode, 0)) for mode in modes),
        )
        for stage in facts.stages
    ]
    sums = [number(sum(stage.samples.get(mode, 0) for stage in facts.stages)) for mode in modes]
    steps = number(sum(stage.max_steps for stage in facts.stages))
    head = ("stage", "continued from", "seed", "steps", *(f"{mode} samples" for mode in modes))
    return [
        "",
        "## Training",
        "",
        *table(head, [*rows, ("total", "", "", steps, *sums)]),
        "",
        "`curves.csv` beside this file holds losses by mode and validation mIoU by layer against "
        "samples seen, `curves.png` shows them. `make tiny-model` runs these commands:",
        "",
        "```bash",
        *facts.commands,
        "```",
    ]


def _data(facts: CardFacts) -> list[str]:
    keys = list(dict.fromkeys(key for settings in facts.data.values() for key in settings))
    rows = [
        (words(key), *(_setting(settings.get(key)) for settings in facts.data.values()))
        for key in keys
    ]
    photos = [
        (photo.name, photo.author, photo.licence, "test" if photo.heldout else "training")
        for photo in facts.photos
    ]
    return [
        "",
        "## Data",
        "",
        "Rendered objects, printed over with letters, logos and patterns, and photos; every "
        "correspondence is exact. Settings of `data_tools/render_objects.py` (- = its default):",
        "",
        *table(("setting", *facts.data), rows),
        "",
        *(
            table(("picture", "author", "licence", "used for"), photos)
            if photos
            else ["Surfaces show pictures of the user, of which nothing is known here."]
        ),
        "",
        *_heldout(facts),
    ]


def _heldout(facts: CardFacts) -> list[str]:
    """Say what the test objects have that no training object had."""
    training, test = (facts.data.get(name, {}) for name in ("training", "test"))
    if (training.get("split"), test.get("split")) != ("train", "heldout"):
        return ["Training and test share pictures, letters and logos: nothing was held out."]
    shapes = [shape for shape in test.get("shapes", ()) if shape not in training.get("shapes", ())]
    return [
        "Never seen in training, on test objects only: the pictures above; the letters and digits "
        f"{' '.join(sorted(facts.heldout_letters))}; stars and polygons with "
        f"{', '.join(map(str, facts.heldout_corners))} corners; "
        f"the shapes {', '.join(shapes) or '(none)'}.",
    ]


def _limits(facts: CardFacts) -> list[str]:
    return [
        "",
        "## Limits",
        "",
        f"- It sees crops of {facts.image_size} px and paints no finer; on large pictures its "
        "repairs are blurred.",
        "- It has seen synthetic objects only: rigid and printed. Photographs of real "
        "objects, people and scenes are outside of what it was trained on.",
        "- It is weak. The figures above say how weak: compare them with the true region, which "
        "needs no alignment, and with the baselines.",
        "- Sampler step and layer were calibrated at these sizes; other sizes need a new "
        "calibration (`rba evaluate --calibrate-on`).",
    ]


def _setting(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
