"""Both stages on images of any size: promises kept, loop equal to diffusers', errors said."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler

from rba.errors import InputError
from rba.inference.align import AlignmentSettings
from rba.inference.refine import align_requests, refine, refine_aligned, refine_many
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import Condition, SamplerSettings, sample
from rba.metrics.preservation import max_change_outside
from rba.models.network import RefinementNetwork

SETTINGS = RefinementSettings(
    sampler=SamplerSettings(num_inference_steps=2),
    alignment=AlignmentSettings(num_inference_steps=2),
    batch_size=3,
)


@pytest.mark.parametrize(
    ("size", "box", "reference"),
    [
        ((90, 120), (30, 40, 50, 62), (70, 50)),
        ((64, 64), (0, 0, 64, 64), (32, 32)),  # a full mask
        ((200, 31), (100, 7, 101, 8), (20, 300)),  # one pixel, panorama as reference
        ((9, 400), (8, 399, 9, 400), (400, 9)),  # one pixel in the corner
        ((5, 5), (0, 0, 2, 5), (3, 2)),  # smaller than a latent cell, than a token
        ((1, 1), (0, 0, 1, 1), (1, 1)),
    ],
)
def test_any_image_and_mask(
    network: RefinementNetwork, scheduler: Any, make_case: Any, size: Any, box: Any, reference: Any
) -> None:
    case = make_case(*size, box=box, reference=reference)
    before = case.image.copy()
    result = refine(network, scheduler, RefinementRequest(case=case), SETTINGS)
    assert result.image.shape == before.shape
    assert result.image.dtype == np.uint8
    assert np.array_equal(case.image, before)
    weights = result.feather_mask()
    assert (weights[case.artifact_mask] == 1.0).all()
    assert max_change_outside(before, result.image, weights > 0) == 0
    assert (result.image != before)[case.artifact_mask].any()
    found = result.alignment.correspondence_map
    assert found is not None
    assert found.shape == (8, 8)
    assert found.sum() == pytest.approx(1.0, abs=1e-5)
    region = result.correspondence_mask
    assert region is not None
    assert region.shape == reference
    assert region.any()
    assert set(result.seconds) == {"prepare", "align", "refine", "paste"}


def test_equal_requests_give_equal_results_and_draws_matter(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    request = RefinementRequest(case=make_case(), draw=4)
    first, second = (refine(network, scheduler, request, SETTINGS).image for _ in range(2))
    assert np.array_equal(first, second)
    other = refine(network, scheduler, dataclasses.replace(request, draw=5), SETTINGS).image
    assert not np.array_equal(first, other)
    other = refine(network, scheduler, request, dataclasses.replace(SETTINGS, seed=1)).image
    assert not np.array_equal(first, other)


def test_a_batch_equals_its_singles(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    region = np.zeros((70, 50), bool)
    region[10:20, 10:30] = True
    requests = [
        RefinementRequest(case=make_case(), draw=0),
        RefinementRequest(case=make_case(64, 200), draw=1, region=region),
        RefinementRequest(case=make_case(33, 47, box=(3, 4, 5, 9)), draw=2, no_reference=True),
        RefinementRequest(case=make_case(object_mask=True), draw=3),
    ]
    together = refine_many(network, scheduler, requests, SETTINGS)
    for request, result in zip(requests, together, strict=True):
        single = refine(network, scheduler, request, SETTINGS)
        difference = result.image.astype(int) - single.image.astype(int)
        assert np.abs(difference).max() <= 1
        assert (result.alignment.correspondence_map is None) == (
            request.region is not None or request.no_reference
        )


def test_a_known_region_skips_alignment_and_is_what_the_network_sees(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    region = np.zeros((70, 50), bool)
    region[40:52, 10:30] = True
    request = RefinementRequest(case=make_case(), region=region)
    (alignment,) = align_requests(network, scheduler, [request], SETTINGS)
    assert alignment.correspondence_map is None
    assert alignment.seconds["align"] == 0.0
    assert alignment.matched is not None
    box = alignment.matched.box
    assert box.x0 <= 10 < 30 <= box.x1
    assert box.y0 <= 40 < 52 <= box.y1
    assert np.array_equal(alignment.region, region)


def test_no_reference_ignores_the_reference(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    case = make_case()
    other = dataclasses.replace(case, references=(255 - case.references[0],))
    images = [
        refine(network, scheduler, RefinementRequest(case=item, no_reference=True), SETTINGS).image
        for item in (case, other)
    ]
    assert np.array_equal(*images)
    guided = [
        refine(network, scheduler, RefinementRequest(case=item), SETTINGS).image
        for item in (case, other)
    ]
    assert not np.array_equal(*guided)


def test_what_lies_under_the_mask_never_matters(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    case = make_case(64, 64, box=(10, 10, 40, 40))
    image = case.image.copy()
    image[case.artifact_mask] = 255 - image[case.artifact_mask]
    results = [
        refine(network, scheduler, RefinementRequest(case=item), SETTINGS)
        for item in (case, dataclasses.replace(case, image=image))
    ]
    inside = case.artifact_mask
    assert np.array_equal(results[0].image[inside], results[1].image[inside])


@torch.no_grad()
def test_loop_equals_diffusers_formula_step_by_step(network: RefinementNetwork) -> None:
    """DDIM, eta 0, guidance as in diffusers' pipelines: uncond + g * (cond - uncond)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 48, 16, 16, generator=generator)
    condition = Condition(
        latent_mask=(torch.rand(2, 1, 16, 16, generator=generator) > 0.7).float(),
        masked_latents=torch.randn(2, 48, 16, 16, generator=generator),
        tokens=network.embed_references(torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1),
    )
    steps: list[torch.Tensor] = []
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
    sample(
        network,
        scheduler,
        condition,
        noise,
        SamplerSettings(num_inference_steps=4, guidance_scale=5.0),
        callback=lambda index, count, latents: steps.append(latents.clone()),
    )
    assert len(steps) == 4
    scheduler.set_timesteps(4)
    latents = noise * scheduler.init_noise_sigma
    fixed = condition.latent_mask, condition.masked_latents
    for index, timestep in enumerate(scheduler.timesteps):
        null = network.predict(latents, timestep, *fixed, network.null_tokens(2))
        conditional = network.predict(latents, timestep, *fixed, condition.tokens)
        guided = null + 5.0 * (conditional - null)
        latents = scheduler.step(guided, timestep, latents, eta=0.0).prev_sample
        torch.testing.assert_close(steps[index], latents, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_stochastic_schedulers_are_reproducible_by_generator(
    network: RefinementNetwork, make_case: Any
) -> None:
    request = RefinementRequest(case=make_case())
    images = [
        refine(
            network,
            EulerAncestralDiscreteScheduler(),
            request,
            SETTINGS,
            generator=torch.Generator().manual_seed(seed),
        ).image
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    stochastic = dataclasses.replace(
        SETTINGS, sampler=SamplerSettings(num_inference_steps=2, eta=1.0)
    )
    keyed = [refine(network, DDIMScheduler(), request, stochastic).image for _ in range(2)]
    assert np.array_equal(*keyed)


def test_both_stages_apart_equal_the_whole(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    requests = [RefinementRequest(case=make_case(), draw=index) for index in range(2)]
    alignments = align_requests(network, scheduler, requests, SETTINGS)
    apart = refine_aligned(network, scheduler, requests, alignments, SETTINGS)
    whole = refine_many(network, scheduler, requests, SETTINGS)
    for first, second in zip(apart, whole, strict=True):
        assert np.array_equal(first.image, second.image)


def test_output_that_is_not_finite_is_an_error_not_a_black_picture(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    weight = network.unet.conv_out.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(torch.nan)
        with pytest.raises(InputError, match="not finite"):
            refine(network, scheduler, RefinementRequest(case=make_case()), SETTINGS)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_object_mask_keeps_the_region_on_the_object(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    case = make_case(object_mask=True)
    result = refine(network, scheduler, RefinementRequest(case=case), SETTINGS)
    assert result.alignment.cells is not None
    known = result.alignment.reference.mask.reshape(8, 4, 8, 4).any(axis=(1, 3))
    assert not (result.alignment.cells & ~known).any()


def test_the_network_sees_the_object_alone_as_large_as_the_margin_says(
    network: RefinementNetwork, scheduler: Any, make_case: Any
) -> None:
    request = RefinementRequest(case=make_case(object_mask=True))  # 38 x 36 pixels of 50 x 70
    wide = dataclasses.replace(SETTINGS, object_margin=0.5)
    (usual,), (more,) = (
        align_requests(network, scheduler, [request], settings) for settings in (SETTINGS, wide)
    )
    assert usual.reference.box.width == 46
    assert more.reference.box.width == 76
    assert not np.array_equal(usual.correspondence_map, more.correspondence_map)
    whole = dataclasses.replace(request, region=request.whole_region())
    (known,) = align_requests(network, scheduler, [whole], SETTINGS)
    assert np.array_equal(known.region, request.reference_mask)
    unknown = RefinementRequest(case=make_case())
    assert unknown.whole_region().all()
    (alignment,) = align_requests(network, scheduler, [unknown], SETTINGS)
    assert alignment.reference.box.width == 70


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feather_dilation": 5, "feather_radius": 4}, "0-8 pixels"),
        ({"feather_radius": -1}, "feather_radius -1"),
        ({"crop_factor": 1.0}, "crop_factor 1.0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"object_margin": -0.1}, "object_margin -0.1"),
        ({"object_margin": float("nan")}, "object_margin nan"),
    ],
)
def test_unfit_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RefinementSettings(**changes)


def test_unfit_requests_are_refused(make_case: Any) -> None:
    case = make_case()
    with pytest.raises(InputError, match="reference 1 does not exist"):
        RefinementRequest(case=case, reference_index=1)
    with pytest.raises(InputError, match="region"):
        RefinementRequest(case=case, region=np.zeros((70, 50), bool))
    with pytest.raises(InputError, match="the image is float64"):
        RefinementRequest(case=dataclasses.replace(case, image=case.image / 255.0))
    empty = dataclasses.replace(case, reference_masks=(np.zeros((70, 50), bool),))
    with pytest.raises(InputError, match="object mask is empty"):
        RefinementRequest(case=empty)
