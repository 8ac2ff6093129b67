"""What the shipped model does on objects, letters and textures that it never saw."""

from pathlib import Path
from typing import Any

import pytest

from rba.evaluation.report import evaluate
from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.sampler import SamplerSettings
from rba.rendering.dataset import RenderJob, render_objects
from rba.rendering.pair import PairSettings
from rba.rendering.style import PrintStyle

NUM_CASES = 24
SEED = 900  # of objects that neither training nor the card's figures used


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("objects")
    job = RenderJob(
        split="heldout",
        seed=SEED,
        size=128,
        settings=PairSettings(
            shapes=("prism", "frustum", "dome"),
            rotation_degrees=(0.0, 45.0),
            fill=(0.45, 0.9),
            style=PrintStyle(density=(3.0, 5.0), empty_share=0.1, mosaic_share=0.5),
        ),
    )
    assert len(list(render_objects(job, folder, NUM_CASES, workers=1))) == NUM_CASES
    cases = list(synthetic_cases(folder, NUM_CASES, SyntheticSettings(seed=SEED)))
    pipeline = RefineByAlignPipeline.open("tiny")
    settings = pipeline.settings(
        max_magnification=1.0,
        batch_size=8,
        sampler=SamplerSettings(num_inference_steps=4, guidance_scale=1.5),
    )
    return evaluate(pipeline.network, pipeline.scheduler, cases, settings).metrics


def test_it_finds_the_region_better_than_no_model(metrics: dict[str, Any]) -> None:
    alignment = {name: figures["miou"] for name, figures in metrics["alignment"].items()}
    assert alignment["model"] > 1.3 * alignment["uniform"], alignment
    assert alignment["model"] > 1.2 * alignment["same_position"], alignment
    hits = {name: figures["hit_rate"] for name, figures in metrics["alignment"].items()}
    assert hits["model"] > hits["same_position"], hits


def test_the_right_reference_mends_more_than_a_wrong_one(metrics: dict[str, Any]) -> None:
    psnr = {name: figures["psnr_in_hole"] for name, figures in metrics["refinement"].items()}
    assert psnr["right_reference"] > psnr["wrong_reference"], psnr
    assert psnr["right_reference"] > psnr["defect"] + 1.0, psnr


def test_nothing_changes_outside_the_feathered_mask(metrics: dict[str, Any]) -> None:
    assert metrics["max_change_outside_mask"] == 0
