"""The module trains, logs by mode, and gives both modes the same set of parameters."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel

from rba.batch import Batch, Mode
from rba.errors import InputError
from rba.geometry import mask_to_latent
from rba.models.checkpoint import CHECKPOINT_KEY
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule

Maker = Callable[..., RefineByAlignModule]


def test_the_loss_of_each_mode_falls_on_a_repeated_batch(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    module.network.train()
    optimizer = module.configure_optimizers()["optimizer"]
    batches = [make_batch(Mode.ALIGNMENT), make_batch(Mode.REFINEMENT, first=10)]

    def losses() -> list[float]:
        with torch.no_grad():
            return [float(module.losses(b, module.objective)[0].mean()) for b in batches]

    before = losses()
    for step in range(30):
        optimizer.zero_grad()
        module.losses(batches[step % 2], module.objective)[0].mean().backward()
        optimizer.step()
    assert all(after < 0.85 * start for start, after in zip(before, losses(), strict=True))


def test_both_modes_use_the_same_parameters(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    used = []
    for mode in Mode:
        module.network.zero_grad(set_to_none=True)
        module.losses(make_batch(mode), module.objective)[0].mean().backward()
        used.append({n for n, p in module.network.named_parameters() if p.grad is not None})
    trained = {n for n, p in module.network.named_parameters() if p.requires_grad}
    assert used[0] == used[1] == trained


def test_a_dropped_reference_has_no_influence(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    module.network.eval()
    batch = make_batch()
    other = dataclasses.replace(batch, reference=255 - batch.reference)
    for probability, equal in ((1.0, True), (0.0, False)):
        objective = Objective(drop_probability=probability)
        first, second = (module.losses(b, objective)[0] for b in (batch, other))
        assert torch.equal(first, second) is equal


def test_contradictions_are_refused_when_the_module_is_made(make_module: Maker) -> None:
    with pytest.raises(InputError, match=r"learning_rates\.unet"):
        make_module(learning_rates={"connector": 1.0, "encoder": 1.0})


def test_a_checkpoint_describes_its_network_in_plain_containers(make_module: Maker) -> None:
    checkpoint: dict = {}
    make_module().on_save_checkpoint(checkpoint)
    facts = checkpoint[CHECKPOINT_KEY]
    assert facts["image_size"] == 32
    assert facts["network"]["connector"]["class"] == "Connector"

    def is_plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(is_plain(v) for v in value.values())
        if isinstance(value, list):
            return all(map(is_plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert is_plain(facts)


def test_validation_measures_every_layer_and_restores_training(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    module.network.train()
    maps = module.validation_step(make_batch(), 0)
    assert maps.shape == (4, 16, 4, 4)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(4, 16))
    assert module.network.unet.training


def test_min_snr_scales_each_sample_s_loss_by_its_timestep(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    module.network.eval()
    plain = module.losses(make_batch(), Objective())
    weighted = module.losses(make_batch(), Objective(min_snr_gamma=5.0))
    signal = module.scheduler.alphas_cumprod[plain.timesteps]
    snr = signal / (1 - signal)
    expected = plain.losses * torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(weighted.losses, expected)
    assert torch.equal(weighted.in_hole, plain.in_hole)


def test_blended_training_noises_the_known_outside_the_hole(
    make_module: Maker, make_batch: Callable[..., Batch]
) -> None:
    module = make_module()
    network = module.network
    with pytest.raises(InputError, match=r"conditioning=blended4 .* 97 channels: .* 48 for"):
        make_module(objective=Objective(conditioning="blended4"))
    config = dict(network.unet.config) | {"in_channels": 48}
    network.unet = UNet2DConditionModel.from_config(config)
    with pytest.raises(InputError, match="conditioning=inpaint9 but the U-Net takes 48 channels"):
        make_module()
    objective = Objective(conditioning="blended4", drop_probability=0.0)
    module = make_module(objective=objective)
    network.eval()
    encode = network.encode_images
    # as AutoencoderKL: every latent cell sees what is around it
    network.encode_images = lambda images: encode(images) + images.mean((1, 2, 3)).view(-1, 1, 1, 1)
    seen: list[torch.Tensor] = []
    network.unet.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = make_batch()
    changed = torch.where(batch.artifact_mask, 255 - batch.image, batch.image)
    module.losses(batch, objective)
    module.losses(dataclasses.replace(batch, image=changed), objective)
    hole = mask_to_latent(batch.artifact_mask.float(), network.latent_factor) > 0
    hole = hole.expand_as(seen[0])
    # what lies outside the hole does not depend on what is in it
    assert torch.equal(seen[0][~hole], seen[1][~hole])
    assert not torch.equal(seen[0][hole], seen[1][hole])
