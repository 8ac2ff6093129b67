"""The alignment stage against its pieces written out: one forward, hooks, the sampler's path."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from rba.attention import capture
from rba.batch import Batch, Example, Mode
from rba.errors import InputError
from rba.geometry import mask_to_latent, mask_to_queries
from rba.inference.align import AlignmentSettings, align
from rba.inference.noise import GeneratorNoise, KeyedNoise
from rba.models.network import RefinementNetwork

NOISE = KeyedNoise(seed=3, draws=(0, 7))
SETTINGS = AlignmentSettings(num_inference_steps=5)


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)

    def example(number: int) -> Example:
        mask = np.zeros((64, 64), bool)
        mask[10 + number : 24, 30:41] = True
        return Example(
            image=rng.integers(0, 256, (64, 64, 3)).astype(np.uint8),
            artifact_mask=mask,
            reference=rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
            reference_mask=np.ones((32, 32), bool),
            correspondence_mask=np.ones((32, 32), np.float32),
            correspondence_known=True,
            draw=number,
            sample_id=f"a/0/{number}",
        )

    return Batch.collate(Mode.ALIGNMENT, [example(0), example(1)])


@pytest.fixture
def inputs(batch: Batch) -> dict[str, Tensor]:
    pixels = batch.normalized()
    return {
        "image": pixels.image,
        "artifact_mask": batch.artifact_mask,
        "reference": pixels.reference,
    }


def attention_by_hook(module: Any, hidden: Tensor, tokens: Tensor) -> Tensor:
    query = module.head_to_batch_dim(module.to_q(hidden))
    key = module.head_to_batch_dim(module.to_k(tokens))
    scores = module.get_attention_scores(query, key)
    return scores.unflatten(0, (len(hidden), module.heads)).mean(1)


@torch.no_grad()
def by_hand(
    network: RefinementNetwork, scheduler: Any, batch: Batch, step: int, layer: int
) -> Tensor:
    """Algorithm 1 with a plain hook on the layer and the sampler's own loop."""
    pixels = batch.normalized()
    masked = network.encode_images(pixels.masked_image)
    mask = mask_to_latent(pixels.artifact_mask, 4)
    tokens = network.embed_references(pixels.reference)
    scheduler.set_timesteps(5)
    latents = NOISE("alignment-0", tuple(masked.shape)) * scheduler.init_noise_sigma
    seen: list[Tensor] = []
    module = network.cross_attention_layers()[layer][1]
    handle = module.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(
            attention_by_hook(m, args[0], kwargs["encoder_hidden_states"])
        ),
        with_kwargs=True,
    )
    for timestep in scheduler.timesteps[: step + 1]:
        prediction = network.predict(latents, timestep, mask, masked, tokens)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    handle.remove()
    probabilities = seen[-1]
    weights = mask_to_queries(batch.artifact_mask, round(probabilities.shape[1] ** 0.5)).flatten(1)
    summed = (weights[..., None] * probabilities).sum(1) / weights.sum(1, keepdim=True)
    return summed.reshape(2, 8, 8)


@pytest.mark.parametrize(("step", "layer"), [(0, 9), (0, 0), (2, 6), (4, 15)])
def test_equals_algorithm_1_by_hand(
    network: RefinementNetwork,
    scheduler: Any,
    batch: Batch,
    inputs: dict[str, Tensor],
    step: int,
    layer: int,
) -> None:
    settings = dataclasses.replace(SETTINGS, sampler_step_index=step, layer=layer)
    result = align(network, scheduler, **inputs, noise=NOISE, settings=settings)
    assert result.shape == (2, 8, 8)
    torch.testing.assert_close(result.sum((1, 2)), torch.ones(2))
    torch.testing.assert_close(
        result, by_hand(network, scheduler, batch, step, layer), rtol=1e-4, atol=1e-6
    )


def test_what_lies_under_the_mask_does_not_matter_unless_shown(
    network: RefinementNetwork, scheduler: Any, inputs: dict[str, Tensor]
) -> None:
    other = dict(inputs)
    other["image"] = torch.where(inputs["artifact_mask"], -inputs["image"], inputs["image"])
    maps = [align(network, scheduler, **x, noise=NOISE, settings=SETTINGS) for x in (inputs, other)]
    assert torch.equal(*maps)
    shown = dataclasses.replace(SETTINGS, show_artifact=True)
    maps = [align(network, scheduler, **x, noise=NOISE, settings=shown) for x in (inputs, other)]
    assert not torch.allclose(*maps)


def test_stops_at_the_wanted_layer_which_alone_computes_probabilities(
    network: RefinementNetwork,
    scheduler: Any,
    inputs: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[Any] = []
    original = capture.attention_probabilities

    def counted(attention: Any, *args: Any) -> Tensor:
        computed.append(attention)
        return original(attention, *args)

    monkeypatch.setattr(capture, "attention_probabilities", counted)
    ran: list[int] = []
    handles = [
        module.register_forward_pre_hook(lambda m, a, index=index: ran.append(index))
        for index, (_, module) in enumerate(network.cross_attention_layers())
    ]
    try:
        align(network, scheduler, **inputs, noise=NOISE, settings=SETTINGS)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == list(range(10))
    assert computed == [network.cross_attention_layers()[9][1]]


def test_one_defect_on_several_references_is_encoded_once(
    network: RefinementNetwork,
    scheduler: Any,
    inputs: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = {name: given[:1] for name, given in inputs.items()}
    second = first | {"reference": inputs["reference"][1:]}
    alone = [
        align(network, scheduler, **given, noise=KeyedNoise(3, (0,)), settings=SETTINGS)
        for given in (first, second)
    ]
    encoded: list[int] = []
    original = network.encode_images

    def counted(images: Tensor) -> Tensor:
        encoded.append(len(images))
        return original(images)

    monkeypatch.setattr(network, "encode_images", counted)
    both = {name: torch.cat([first[name], second[name]]) for name in first}
    noise = KeyedNoise(3, (0, 0))
    maps = align(network, scheduler, **both, noise=noise, settings=SETTINGS)
    assert encoded == [1]
    torch.testing.assert_close(maps, torch.cat(alone))
    align(network, scheduler, **inputs, noise=NOISE, settings=SETTINGS)
    assert encoded == [1, 2]


def test_mean_over_cells_and_noises(
    network: RefinementNetwork, scheduler: Any, inputs: dict[str, Tensor]
) -> None:
    def single(step: int, layer: int) -> Tensor:
        settings = dataclasses.replace(SETTINGS, sampler_step_index=step, layer=layer)
        return align(network, scheduler, **inputs, noise=NOISE, settings=settings)

    settings = dataclasses.replace(SETTINGS, cells=((2, 8), (2, 11), (0, 9)))
    together = align(network, scheduler, **inputs, noise=NOISE, settings=settings)
    expected = (single(0, 9) + single(2, 8) + single(2, 11)) / 3
    torch.testing.assert_close(together, expected)

    purposes: list[str] = []

    def noise(purpose: str, shape: tuple[int, ...]) -> Tensor:
        purposes.append(purpose)
        return NOISE(purpose, shape)

    settings = dataclasses.replace(SETTINGS, num_noises=3)
    align(network, scheduler, **inputs, noise=noise, settings=settings)
    assert purposes == ["alignment-0", "alignment-1", "alignment-2"]


def test_network_scheduler_and_processors_stay_as_they_were(
    network: RefinementNetwork, scheduler: Any, inputs: dict[str, Tensor]
) -> None:
    network.train()
    try:
        modes = [module.training for module in network.modules()]
        processors = [layer.processor for _, layer in network.cross_attention_layers()]
        before = scheduler.timesteps.clone()
        align(network, scheduler, **inputs, noise=NOISE, settings=SETTINGS)
        with pytest.raises(RuntimeError):
            align(
                network,
                scheduler,
                **{**inputs, "image": inputs["image"][..., :60]},
                noise=NOISE,
                settings=SETTINGS,
            )
        assert [module.training for module in network.modules()] == modes
        assert [layer.processor for _, layer in network.cross_attention_layers()] == processors
        assert torch.equal(scheduler.timesteps, before)
    finally:
        network.eval()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_another_scheduler_serves_too(
    network: RefinementNetwork, inputs: dict[str, Tensor]
) -> None:
    settings = dataclasses.replace(SETTINGS, sampler_step_index=3)
    result = align(network, DPMSolverMultistepScheduler(), **inputs, noise=NOISE, settings=settings)
    torch.testing.assert_close(result.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 16}, "0-15"),
        ({"layer": -1}, "layer -1 does not exist"),
        ({"sampler_step_index": 5}, "0 .the noisiest. to 4"),
        ({"num_noises": 0}, "num_noises is 0"),
    ],
)
def test_mistakes_are_refused(
    network: RefinementNetwork,
    scheduler: Any,
    inputs: dict[str, Tensor],
    changes: dict[str, int],
    message: str,
) -> None:
    settings = dataclasses.replace(SETTINGS, **changes)
    with pytest.raises(InputError, match=message):
        align(network, scheduler, **inputs, noise=NOISE, settings=settings)


def test_attention_that_is_not_finite_is_an_error(
    network: RefinementNetwork, scheduler: Any, inputs: dict[str, Tensor]
) -> None:
    with pytest.raises(InputError, match="not finite"):
        align(
            network,
            scheduler,
            **inputs,
            noise=lambda purpose, shape: torch.full(shape, torch.nan),
            settings=SETTINGS,
        )


def test_keyed_noise_does_not_depend_on_the_batch() -> None:
    together = KeyedNoise(1, (4, 5))("x", (2, 3, 4, 4))
    alone = KeyedNoise(1, (5,))("x", (1, 3, 4, 4))
    assert torch.equal(together[1:], alone)
    assert not torch.equal(together[1:], KeyedNoise(1, (5,))("y", (1, 3, 4, 4)))
    with pytest.raises(ValueError, match="2 draws"):
        KeyedNoise(1, (4, 5))("x", (3, 3, 4, 4))


def test_generator_noise_is_torchs_own() -> None:
    noise = GeneratorNoise(torch.Generator().manual_seed(5))
    expected = torch.randn(2, 3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(noise("any", (2, 3)), expected)
