"""The objective against closed forms and diffusers' own formulas."""

from collections.abc import Callable

import pytest
import torch
from diffusers import DDIMScheduler

from rba.batch import Batch, Mode
from rba.errors import InputError
from rba.training.loss import Objective, draw_step, hole_errors, regression_target, sample_losses


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
