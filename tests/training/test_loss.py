"""The objective against closed forms and diffusers' own formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from rba.batch import Batch, Mode
from rba.errors import InputError
from rba.training.loss import (
    Objective,
    draw_step,
    hole_errors,
    min_snr_weights,
    regression_target,
    sample_losses,
)


def test_uniform_weight_is_the_plain_mean_squared_error() -> None:
    prediction, target = torch.randn(2, 3, 5, 4, 4)
    mask = (torch.rand(3, 1, 4, 4) > 0.5).float()
    expected = torch.nn.functional.mse_loss(prediction, target, reduction="none").mean((1, 2, 3))
    torch.testing.assert_close(sample_losses(prediction, target, mask, 1.0), expected)


def test_hole_weight_is_a_weighted_mean_over_cells() -> None:
    prediction, target = torch.randn(2, 1, 5, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    error = (prediction - target).square().mean(1)[0]
    inside, outside = error[:, :2].mean(), error[:, 2:].mean()
    expected = (9 * inside + outside) / 10
    torch.testing.assert_close(sample_losses(prediction, target, mask, 9.0)[0], expected)
    torch.testing.assert_close(hole_errors(prediction, target, mask)[0], inside)


def test_a_constant_error_gives_the_same_loss_whatever_the_hole() -> None:
    zeros, ones = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, 0, 0] = 1
    mask[1] = 1
    torch.testing.assert_close(sample_losses(zeros, ones, mask, 50.0), torch.ones(2))


def test_velocity_is_what_the_closed_form_says() -> None:
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    latents, noise = torch.randn(2, 2, 3, 4, 4)
    timesteps = torch.tensor([10, 900])
    alpha = scheduler.alphas_cumprod[timesteps].view(2, 1, 1, 1)
    expected = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    torch.testing.assert_close(regression_target(scheduler, latents, noise, timesteps), expected)


def test_epsilon_is_the_noise() -> None:
    noise = torch.randn(1, 2, 3, 3)
    assert regression_target(DDIMScheduler(), noise * 2, noise, torch.tensor([3])) is noise


def test_a_sample_is_the_clean_latents() -> None:
    latents, noise = torch.randn(2, 1, 2, 3, 3)
    scheduler = DDIMScheduler(prediction_type="sample")
    Objective().check(scheduler)
    assert regression_target(scheduler, latents, noise, torch.tensor([3])) is latents


def test_draws_do_not_depend_on_how_a_batch_is_cut(make_batch: Callable[..., Batch]) -> None:
    objective = Objective(drop_probability=0.5)
    whole = draw_step(make_batch(size=6), objective, (2, 3, 3), seed=4)
    parts = [draw_step(make_batch(first=i, size=3), objective, (2, 3, 3), seed=4) for i in (0, 3)]
    for name in ("noise", "timesteps", "drop"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(getattr(whole, name), joined)


def test_draws_differ_by_mode_seed_and_draw_number(make_batch: Callable[..., Batch]) -> None:
    shape = (2, 3, 3)
    first = draw_step(make_batch(), Objective(), shape, seed=0).noise
    others = [
        draw_step(make_batch(), Objective(), shape, seed=1).noise,
        draw_step(make_batch(Mode.REFINEMENT), Objective(), shape, seed=0).noise,
        draw_step(make_batch(first=4), Objective(), shape, seed=0).noise,
    ]
    assert all(not torch.equal(first, other) for other in others)


def test_reference_drop_is_per_sample_and_at_its_rate(make_batch: Callable[..., Batch]) -> None:
    drop = draw_step(make_batch(size=2000), Objective(drop_probability=0.1), (1, 1, 1), 0).drop
    assert 0.07 < drop.float().mean() < 0.13
    assert not draw_step(make_batch(), Objective(drop_probability=0.0), (1, 1, 1), 0).drop.any()


@pytest.mark.parametrize(("power", "expected_mean"), [(1.0, 500), (3.0, 750)])
def test_timesteps_follow_the_set_power(
    make_batch: Callable[..., Batch], power: float, expected_mean: float
) -> None:
    objective = Objective(timestep_power=power)
    timesteps = draw_step(make_batch(size=3000), objective, (1, 1, 1), 0).timesteps
    # E[u ** (1 / p)] = p / (p + 1)
    assert abs(timesteps.float().mean() - expected_mean) < 20
    assert timesteps.min() >= 0
    assert timesteps.max() <= 999


def test_timesteps_stay_in_their_range(make_batch: Callable[..., Batch]) -> None:
    objective = Objective(timestep_range=(600, 602))
    timesteps = draw_step(make_batch(size=64), objective, (1, 1, 1), 0).timesteps
    assert set(timesteps.tolist()) == {600, 601}


@pytest.mark.parametrize(
    "wrong",
    [
        {"hole_weight": 0.0},
        {"drop_probability": 1.5},
        {"timestep_range": (5, 5)},
        {"timestep_power": -1.0},
        {"min_snr_gamma": 0.0},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Objective(**wrong)


def test_a_schedule_that_contradicts_the_objective_is_refused() -> None:
    with pytest.raises(InputError, match="num_train_timesteps=100"):
        Objective().check(DDIMScheduler(num_train_timesteps=100))
    with pytest.raises(InputError, match="prediction_type='flow'"):
        Objective().check(DDIMScheduler(prediction_type="flow"))


def stable_diffusion(**changes: Any) -> Any:
    """Stable Diffusion's noise schedule."""
    settings: dict[str, Any] = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    }
    return DDIMScheduler(**settings | changes)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_are_those_of_diffusers_training_scripts(kind: str) -> None:
    scheduler = stable_diffusion(prediction_type=kind)
    timesteps = torch.arange(1000)
    snr = compute_snr(scheduler, timesteps)
    capped = torch.stack([snr, 5.0 * torch.ones_like(timesteps)], dim=1).min(dim=1)[0]
    divisor = {"epsilon": snr, "v_prediction": snr + 1, "sample": 1.0}[kind]
    found = min_snr_weights(scheduler, timesteps, 5.0)
    torch.testing.assert_close(found, capped / divisor, rtol=1e-4, atol=1e-6)
    assert found.isfinite().all()


def test_min_snr_weighs_one_error_of_the_clean_latents_alike_however_it_is_predicted() -> None:
    latents, noise, error = torch.randn(3, 3, 4, 8, 8, dtype=torch.float64)
    timesteps, mask = torch.tensor([20, 400, 950]), torch.zeros(3, 1, 8, 8)
    losses = []
    for kind in ("epsilon", "v_prediction", "sample"):
        scheduler = stable_diffusion(prediction_type=kind)
        signal = scheduler.alphas_cumprod[timesteps].double().view(3, 1, 1, 1)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        wrong = latents + error  # what the network takes for clean
        guess = {
            "sample": wrong,
            "epsilon": (noisy - signal.sqrt() * wrong) / (1 - signal).sqrt(),
            "v_prediction": (signal.sqrt() * noisy - wrong) / (1 - signal).sqrt(),
        }[kind]
        target = regression_target(scheduler, latents, noise, timesteps)
        plain = sample_losses(guess, target, mask, 1.0)
        losses.append(plain * min_snr_weights(scheduler, timesteps, 5.0))
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses[1], losses[2], rtol=1e-3, atol=1e-5)


def test_noising_is_the_closed_form() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    timesteps = torch.tensor([0, 500, 999])
    signal = (1 - betas).cumprod(0)[timesteps].view(3, 1, 1, 1)
    latents, noise = torch.randn(2, 3, 2, 4, 4)
    expected = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    found = stable_diffusion().add_noise(latents, noise, timesteps)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "spacing", "gamma", "words"),
    [
        ("epsilon", "trailing", None, "prediction_type=epsilon with .*zero terminal SNR"),
        ("v_prediction", "trailing", 5.0, r"min_snr_gamma=5\.0 with"),
        ("sample", "trailing", 5.0, r"min_snr_gamma=5\.0 with"),
        ("v_prediction", "leading", None, "timestep_spacing=leading with"),
    ],
)
def test_what_fails_at_zero_terminal_snr_is_refused(
    kind: str, spacing: str, gamma: float | None, words: str
) -> None:
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": spacing}
    scheduler = stable_diffusion(prediction_type=kind, **zero)
    with pytest.raises(InputError, match=words):
        Objective(min_snr_gamma=gamma).check(scheduler)


def test_zero_terminal_snr_is_taken_where_it_works() -> None:
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    Objective().check(stable_diffusion(prediction_type="v_prediction", **zero))
    Objective(min_snr_gamma=5.0).check(stable_diffusion())
