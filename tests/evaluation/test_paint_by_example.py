"""Paint-by-Example on a folder of random weights at a tiny size."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.paint_by_example import (
    PaintByExampleImageEncoder,
    PaintByExamplePipeline,
)
from transformers import CLIPImageProcessor, CLIPVisionConfig

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.baselines.paint_by_example import (
    ExampleSettings,
    PaintByExample,
    open_paint_by_example,
)
from rba.evaluation.methods import MethodResult

CPU = torch.device("cpu")
QUICK = ExampleSettings(steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **blocks,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **blocks,
    )
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    pipeline = PaintByExamplePipeline(
        vae=vae,
        image_encoder=PaintByExampleImageEncoder(config, proj_size=16),
        unet=unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )
    path = tmp_path_factory.mktemp("weights") / "paint-by-example"
    pipeline.save_pretrained(path)
    # As the published folder has it: the class by the name of its pipeline's module.
    index = json.loads((path / "model_index.json").read_text())
    index["image_encoder"][0] = "paint_by_example"
    (path / "model_index.json").write_text(json.dumps(index))
    return path


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    image, reference = rng.integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    mask = np.zeros((50, 70), bool)
    mask[30:50, 40:52] = True
    known = np.zeros((50, 70), bool)
    known[10:40, 20:60] = True
    return Case(
        id="made",
        image=image,
        artifact_mask=mask,
        references=(reference,),
        reference_masks=(known,),
    )


def refine(method: PaintByExample, case: Case, number: int = 0) -> MethodResult:
    (result,) = method.run([case], [number])
    return result


def test_it_repaints_the_mask_and_nothing_else(folder: Path, case: Case) -> None:
    result = refine(open_paint_by_example(str(folder), CPU, QUICK), case)
    changed = (result.image != case.image).any(axis=2)
    assert not changed[~case.artifact_mask].any()
    assert changed[case.artifact_mask].mean() > 0.95
    assert result.image.dtype == np.uint8
    assert result.region is None


def test_a_folder_that_this_diffusers_wrote_opens_too(
    folder: Path, case: Case, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    index["image_encoder"][0] = "diffusers"
    (copy / "model_index.json").write_text(json.dumps(index))
    pair = [refine(open_paint_by_example(str(f), CPU, QUICK), case) for f in (folder, copy)]
    np.testing.assert_array_equal(pair[0].image, pair[1].image)


def test_noise_follows_the_draw_number_alone(folder: Path, case: Case) -> None:
    method = open_paint_by_example(str(folder), CPU, QUICK)
    together = list(method.run([case, case, case], [0, 1, 0]))
    np.testing.assert_array_equal(together[0].image, together[2].image)
    assert (together[0].image != together[1].image).any()
    fresh = open_paint_by_example(str(folder), CPU, QUICK)
    np.testing.assert_array_equal(refine(fresh, case, 1).image, together[1].image)
    other = open_paint_by_example(str(folder), CPU, dataclasses.replace(QUICK, seed=1))
    assert (refine(other, case).image != together[0].image).any()


def test_the_defect_itself_is_not_seen(folder: Path, case: Case) -> None:
    method = open_paint_by_example(str(folder), CPU, QUICK)
    blank = np.where(case.artifact_mask[..., None], np.uint8(0), case.image)
    other = dataclasses.replace(case, image=blank)
    hole = case.artifact_mask
    first, second = (refine(method, item).image[hole].astype(int) for item in (case, other))
    # Pixels beside the hole are mixed with it where the crop is enlarged.
    assert np.abs(first - second).mean() < 0.1 * np.abs(first - case.image[hole]).mean()


def test_the_example_is_the_object_of_the_first_reference(folder: Path, case: Case) -> None:
    method = open_paint_by_example(str(folder), CPU, QUICK)
    known = case.reference_masks[0]
    assert known is not None
    around = np.where(known[..., None], case.references[0], np.uint8(255))
    inside = np.where(known[..., None], np.uint8(255) - case.references[0], case.references[0])
    base = refine(method, case).image
    same = refine(method, dataclasses.replace(case, references=(around,))).image
    np.testing.assert_array_equal(same, base)
    assert (refine(method, dataclasses.replace(case, references=(inside,))).image != base).any()


def test_folders_that_are_none_are_refused_before_a_weight_is_read(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        open_paint_by_example(str(tmp_path / "nowhere"), CPU)
    with pytest.raises(InputError, match="no readable model_index"):
        open_paint_by_example(str(tmp_path), CPU)
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="lacks its folder unet, vae"):
        open_paint_by_example(str(tmp_path), CPU)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match="holds StableDiffusionPipeline"):
        open_paint_by_example(str(tmp_path), CPU)


def test_damaged_weights_are_named(folder: Path, case: Case, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    method = open_paint_by_example(str(copy), CPU, QUICK)
    with pytest.raises(InputError, match=r"--paint-by-example .*copy"):
        refine(method, case)
    json.dumps(dict(method.settings()))
