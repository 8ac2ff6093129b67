"""What a model card says of how a model was made, gathered from where it was made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rba.evaluation.card import CardFacts, Photo, TrainedStage
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.network import PARTS
from rba.rendering.glyphs import HELDOUT_CORNERS, HELDOUT_LETTERS
from rba.rendering.pair import PairSettings
from rba.rendering.textures import WHEEL_HELDOUT, WHEEL_PHOTOS
from rba.workflow.commands import git_commit
from rba.workflow.rendered import RenderedData
from rba.workflow.stage import Stage, run_settings, samples_by_mode


def card_facts(
    name: str,
    model: Path,
    runs: Sequence[tuple[Stage, Path]],
    rendered: RenderedData,
    commands: Sequence[str],
) -> CardFacts:
    """Return the facts of a model that was trained in stages.

    Args:
        name: The model's.
        model: Its directory.
        runs: The stages in order, and the folders of their runs.
        rendered: Settings of the data.
        commands: As typed.
    """
    pipeline = RefineByAlignPipeline.open(model)
    parts: dict[str, Any] = {part: getattr(pipeline.network, part) for part in PARTS}
    network = run_settings(runs[-1][1])["model"]["network"]
    return CardFacts(
        name=name,
        commit=git_commit(),
        commands=commands,
        stages=_stages(runs),
        parameters={part: sum(p.numel() for p in x.parameters()) for part, x in parts.items()},
        architecture=yaml.safe_dump(network, sort_keys=False),
        precision="float16",
        image_size=pipeline.config["image_size"],
        data={
            title: {"shapes": list(PairSettings().shapes)} | rendered.style | settings
            for title, settings in (
                ("training", rendered.train),
                ("calibration", rendered.calibration),
                ("test", rendered.test),
            )
        },
        photos=_photos(rendered),
        heldout_letters=sorted(HELDOUT_LETTERS),
        heldout_corners=sorted(HELDOUT_CORNERS),
    )


def _stages(runs: Sequence[tuple[Stage, Path]]) -> list[TrainedStage]:
    stages: list[TrainedStage] = []
    for index, (stage, run) in enumerate(runs):
        start = run_settings(run)["init_from"]
        if start is not None:
            start = runs[index - 1][0].name if index else Path(start).name
        stages.append(
            TrainedStage(
                name=stage.name,
                seed=stage.seed,
                max_steps=stage.max_steps,
                samples=samples_by_mode(run),
                continued_from=start,
            )
        )
    return stages


def _photos(rendered: RenderedData) -> list[Photo]:
    """Return the pictures inside the scikit-image wheel; none where a folder was given."""
    if (rendered.style | rendered.train).get("textures") is not None:
        return []
    return [
        Photo(
            name=name,
            author=photo.author,
            licence=photo.licence,
            heldout=name in WHEEL_HELDOUT,
        )
        for name, photo in WHEEL_PHOTOS.items()
    ]
