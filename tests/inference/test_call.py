"""A call of the pipeline: every form of picture gives the same, schedules change, hooks fire."""

from pathlib import Path
from typing import Any

import cv2
import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest


def tensors(pictures: dict[str, np.ndarray]) -> dict[str, Any]:
    shares = {name: pixels.astype(np.float32) / 255 for name, pixels in pictures.items()}
    shares["mask_image"] = pictures["mask_image"].astype(np.float32)[..., None]
    return {name: torch.from_numpy(values).permute(2, 0, 1) for name, values in shares.items()}


def test_every_form_of_picture_gives_the_same(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray], make_case: Any
) -> None:
    out = pipeline(**pictures, num_inference_steps=2)
    expected = np.asarray(out.images[0])
    assert out.images[0].size == (120, 90)
    forms: list[dict[str, Any]] = [
        {name: Image.fromarray(pixels) for name, pixels in pictures.items()},
        {**pictures, "image": pictures["image"] / 255.0},
        tensors(pictures),
        {name: [pixels] for name, pixels in pictures.items()},
        {name: tensor[None] for name, tensor in tensors(pictures).items()},
    ]
    for form in forms:
        given = pipeline(**form, num_inference_steps=2, output_type="np").images[0]
        assert (np.rint(given * 255) == expected).all()
    settings = pipeline.settings(sampler=type(pipeline.settings().sampler)(num_inference_steps=2))
    result = pipeline.refine(RefinementRequest(case=make_case(name="0")), settings)[0]
    assert (result.image == expected).all()


def test_the_output_says_how_it_came_about(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray]
) -> None:
    thin = np.zeros_like(pictures["mask_image"])
    thin[40, 10:110] = True
    out = pipeline(
        image=[pictures["image"]] * 2,
        mask_image=[pictures["mask_image"], thin],
        reference=pictures["reference"],
        num_inference_steps=1,
        output_type="pt",
    )
    assert [image.shape for image in out.images] == [(3, 90, 120)] * 2
    assert out.correspondence_maps[0].shape == (8, 8)
    assert out.correspondence_maps[0].sum() == pytest.approx(1, abs=1e-4)
    assert out.correspondence_masks[0].shape == pictures["reference"].shape[:2]
    assert out.masks_grown == [False, True]
    assert len(out.reference_boxes) == len(out.crop_boxes) == len(out.fallbacks) == 2
    assert set(out.seconds[0]) == {"prepare", "align", "refine", "paste"}
    changed = np.asarray(out.images[1].permute(1, 2, 0) * 255).round() != pictures["image"]
    assert not changed[out.results[1].feather_mask() == 0].any()


def test_a_known_region_skips_the_alignment(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray]
) -> None:
    region = np.zeros(pictures["reference"].shape[:2], bool)
    region[10:30, 5:25] = True
    out = pipeline(**pictures, reference_region=region, num_inference_steps=1)
    assert out.correspondence_maps == [None]
    assert (out.correspondence_masks[0] == region).all()
    assert np.isnan(out.confidences[0])


def test_several_references_and_defects(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray]
) -> None:
    two = pictures["mask_image"].copy()
    two[80:84, 2:8] = True
    references = [pictures["reference"], np.ascontiguousarray(pictures["reference"][::-1])]
    steps: list[int] = []

    def count(pipe: Any, step: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return given

    given: dict[str, Any] = {**pictures, "num_inference_steps": 2}
    one = pipeline(
        **given | {"mask_image": two, "reference": references}, callback_on_step_end=count
    )
    assert steps == [0, 1, 0, 1]
    (result,) = one.results
    assert len(result.defects) == 2
    assert one.references[0] == result.defects[0].choice.index
    assert all(len(defect.choice.scores) == 2 for defect in result.defects)
    batch = pipeline(
        image=[pictures["image"]] * 2,
        mask_image=[two, pictures["mask_image"]],
        reference=[references, pictures["reference"]],
        num_inference_steps=2,
    )
    assert (np.asarray(batch.images[0]) == np.asarray(one.images[0])).all()
    assert [len(item.defects) for item in batch.results] == [2, 1]
    assert batch.results[1].defects[0].choice.scores == ()


def test_a_pil_picture_comes_back_in_its_mode(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray]
) -> None:
    picture = Image.fromarray(pictures["image"])
    picture.putalpha(200)
    picture.info["dpi"] = (300, 300)
    out = pipeline(**pictures | {"image": picture}, num_inference_steps=1)
    assert out.images[0].mode == "RGBA"
    assert out.images[0].info["dpi"] == (300, 300)
    changed = (np.asarray(out.images[0]) != np.asarray(picture)).any(axis=2)
    assert changed.any()
    assert not changed[out.results[0].feather_mask() == 0].any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("DDIMScheduler", {}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("UniPCMultistepScheduler", {}),
        ("PNDMScheduler", {"skip_prk_steps": True}),
    ],
)
def test_schedulers_of_diffusers(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray], kind: str, options: Any
) -> None:
    known = {k: v for k, v in pipeline.scheduler.config.items() if k != "clip_sample"}
    pipeline.scheduler = getattr(diffusers, kind).from_config(known, **options)
    first, second = (pipeline(**pictures, num_inference_steps=4).images[0] for _ in range(2))
    assert (np.asarray(first) == np.asarray(second)).all()
    assert (np.asarray(first) != pictures["image"]).any()


def test_callback_and_generator(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray]
) -> None:
    seen: list[tuple[int, int]] = []

    def stop_noise(pipe: Any, step: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline
        seen.append((step, int(timestep)))
        return {"latents": given["latents"] * 0}

    options: dict[str, Any] = {**pictures, "num_inference_steps": 3}
    changed = pipeline(**options, callback_on_step_end=stop_noise)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[0][1] > seen[1][1] > seen[2][1]
    gray = changed.results[0].defects[0].result.refined_crop
    assert gray.std() < 1  # zero latents of the patch transform are one colour

    def drawn(number: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(number)
        return np.asarray(pipeline(**options, generator=generator).images[0])

    assert (drawn(1) == drawn(1)).all()
    assert (drawn(1) != drawn(2)).any()
    seeds = [np.asarray(pipeline(**options, seed=seed).images[0]) for seed in (0, 1)]
    assert (seeds[0] != seeds[1]).any()


def test_offloading_moves_every_part_before_it_computes(
    network: Any, scheduler: Any, pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    RefineByAlignPipeline.from_network(network, scheduler, image_size=64).write(tmp_path / "model")
    pipeline = RefineByAlignPipeline.from_pretrained(tmp_path / "model")
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(**pictures, num_inference_steps=1).images[0]
    pipeline.enable_model_cpu_offload(device="cpu")
    fired: set[str] = set()
    for name in ("encoder", "connector", "autoencoder", "unet"):
        hook = getattr(pipeline, name)._hf_hook
        original = hook.pre_forward

        def watched(module: Any, *args: Any, _name: str = name, _to: Any = original, **kw: Any):
            fired.add(_name)
            return _to(module, *args, **kw)

        hook.pre_forward = watched
    assert (np.asarray(pipeline(**pictures, num_inference_steps=1).images[0]) == expected).all()
    assert fired == {"encoder", "connector", "autoencoder", "unet"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output_type": "jpeg"}, "output_type 'jpeg'"),
        ({"image": "a.png"}, "image is a str"),
        ({"image": np.zeros((90, 120, 2), np.uint8)}, "shape"),
        ({"image": np.full((90, 120, 3), 2.0)}, r"floats from 2 to 2; give them in \[0, 1\]"),
        ({"image": np.full((90, 120, 3), np.nan)}, "floats from nan"),
        ({"image": np.zeros((90, 120, 3), np.int32)}, "holds int32"),
        ({"image": []}, "image is an empty list"),
        ({"mask_image": np.zeros((90, 120), bool)}, "artifact mask is empty"),
        ({"mask_image": np.ones((9, 12), bool)}, "the mask is 12x9 pixels"),
        ({"mask_image": [np.ones((90, 120), bool)] * 3}, "3 pictures as mask_image for 1"),
        (
            {
                "reference": [np.zeros((9, 9, 3), np.uint8)] * 2,
                "reference_mask": [np.ones((9, 9), bool)] * 3,
            },
            "3 reference masks for 2 references",
        ),
        (
            {
                "reference": [np.zeros((9, 9, 3), np.uint8)] * 2,
                "reference_region": np.ones((9, 9), bool),
            },
            "marks one reference",
        ),
        ({"seed": -1}, "seed -1"),
        ({"num_inference_steps": 0}, "0 sampler steps"),
    ],
)
def test_mistakes_are_named(
    pipeline: RefineByAlignPipeline, pictures: dict[str, Any], changes: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        pipeline(**(pictures | changes))


def test_colours_of_more_than_8_bits_are_said_to_be_reduced(
    pipeline: RefineByAlignPipeline, pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), pictures["image"].astype(np.uint16) * 257)
    with Image.open(tmp_path / "deep.png") as deep:
        out = pipeline(
            [deep, pictures["image"]],
            pictures["mask_image"],
            pictures["reference"],
            num_inference_steps=1,
        )
    assert out.colour_depths_reduced == [True, False]
