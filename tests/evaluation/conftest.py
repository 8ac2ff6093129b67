"""Objects whose second view is the first one moved: every correspondence is known exactly."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from rba.case import Case
from rba.evaluation.benchmark import write_case
from rba.evaluation.report import Report, evaluate
from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases
from rba.inference.align import AlignmentSettings
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.pictures import write_png
from rba.rendering.files import write_correspondence
from rba.settings import compose_config

SIDE = 96
SHIFT = (16, 8)  # pixels in x and y from view 00 to view 01


@pytest.fixture(scope="session")
def parts() -> tuple[Any, Any]:
    """The tiny configuration's network with random weights, and its scheduler."""
    config = compose_config(
        "train",
        ["experiment=tiny", "data.alignment.shards=none", "data.refinement.shards=none"],
    )
    torch.manual_seed(0)
    network = instantiate(config.model.network, _convert_="all")
    return network.eval(), instantiate(config.model.scheduler)


def shifted_map(dx: int, dy: int) -> np.ndarray:
    ys, xs = np.mgrid[:SIDE, :SIDE].astype(np.float32) + 0.5
    positions = np.stack([xs + dx, ys + dy], axis=-1)
    outside = ((positions < 0) | (positions > SIDE)).any(axis=-1)
    positions[outside] = np.nan
    return positions


@pytest.fixture(scope="module")
def cases(objects: Path) -> list[Case]:
    """Four cases of three objects; the second has look-alike places, of the third it is unknown."""
    made = list(synthetic_cases(objects, 4, SyntheticSettings()))
    for index, known in ((0, False), (1, True), (3, False)):
        facts = dict(made[index].metadata) | {"look_alikes": known}
        made[index] = dataclasses.replace(made[index], metadata=facts)
    return made


@pytest.fixture(scope="session")
def settings() -> RefinementSettings:
    """One sampler step."""
    return RefinementSettings(
        sampler=SamplerSettings(num_inference_steps=1),
        alignment=AlignmentSettings(num_inference_steps=1),
        batch_size=3,
    )


@pytest.fixture(scope="module")
def report(parts: tuple[Any, Any], cases: list[Case], settings: RefinementSettings) -> Report:
    """Of the four cases, of which three are refined."""
    seen: list[tuple[str, int, int]] = []
    result = evaluate(
        *parts, cases, settings, num_refined=3, progress=lambda *args: seen.append(args)
    )
    assert seen[:2] == [("align", 3, 4), ("align", 4, 4)]
    assert ("refine, true region", 3, 3) in seen
    return result


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("objects")
    dx, dy = SHIFT
    for index in range(3):
        folder = root / f"object-{index:03d}"
        folder.mkdir()
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        wide = cv2.resize(coarse, (SIDE + dx, SIDE + dy), interpolation=cv2.INTER_CUBIC)
        write_png(folder / "00.png", wide[dy:, dx:])
        write_png(folder / "01.png", wide[:SIDE, :SIDE])
        for name in ("00", "01"):
            write_png(folder / f"{name}.mask.png", np.ones((SIDE, SIDE), bool))
        write_correspondence(folder / "00-01.correspondence.png", shifted_map(dx, dy), SIDE, SIDE)
        write_correspondence(folder / "01-00.correspondence.png", shifted_map(-dx, -dy), SIDE, SIDE)
    return root


@pytest.fixture(scope="session")
def bench(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of three objects and two tasks; the last has neither truth nor true region."""
    root = tmp_path_factory.mktemp("bench") / "five"
    for index, case in enumerate(synthetic_cases(objects, 5, SyntheticSettings())):
        task = ("composition", "try_on")[index % 2]
        changes: dict[str, Any] = {"task": task}
        if index == 4:
            changes |= {"truth": None, "correspondence_mask": None}
        write_case(root / case.id, dataclasses.replace(case, **changes))
    return root


@pytest.fixture(scope="session")
def model_folder(parts: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random network as a model directory of four sampler steps."""
    folder = tmp_path_factory.mktemp("models") / "random"
    pipeline = RefineByAlignPipeline.from_network(*parts, image_size=64, num_inference_steps=4)
    pipeline.write(folder)
    return folder
