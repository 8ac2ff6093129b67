"""The encoder's own loss: low where tokens find their places, blind to what it must not see."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rba.batch import PLACES, Batch, Mode
from rba.data.warp import Square, square_matrix
from rba.errors import InputError
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet
from rba.training.correspondence import correspondence_losses
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule

SIDE, GRID, WIDTH = 32, 4, 64
WHOLE = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)


def codes(seed: int = 0, count: int = GRID * GRID) -> torch.Tensor:
    """Tokens that are all unlike each other, [1, count, WIDTH]."""
    return torch.randn(1, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def places(matrix: torch.Tensor | None = None, number: int = PLACES) -> torch.Tensor:
    """Where the middles of the target's squares lie by a matrix, [1, number, number, 2]."""
    matrix = torch.eye(3) if matrix is None else matrix
    steps = (torch.arange(number) + 0.5) * SIDE / number
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    mapped = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ matrix.T
    return (mapped[..., :2] / mapped[..., 2:])[None]


def losses(
    target: torch.Tensor,
    reference: torch.Tensor,
    matrix: torch.Tensor | None = None,
    mask: torch.Tensor = WHOLE,
) -> float:
    return float(correspondence_losses(target, reference, places(matrix), mask))


def test_equal_tokens_in_place_lose_least() -> None:
    tokens = codes()
    assert losses(tokens, tokens) < losses(tokens, tokens.roll(5, dims=1)) - 1.0


def test_the_warp_says_where_a_place_lies() -> None:
    # The reference shows the right lower quarter of the target, twice as large.
    matrix = torch.from_numpy(square_matrix(Square(16.0, 16.0, 16.0), SIDE)).float()
    reference = codes()
    target = codes(1).reshape(1, GRID, GRID, WIDTH)
    seen = reference.reshape(1, GRID, GRID, WIDTH)
    # Each of the quarter's 2 x 2 tokens covers 2 x 2 of the reference's: their mean.
    pooled = seen.reshape(1, 2, 2, 2, 2, WIDTH).mean(dim=(2, 4))
    matching = target.clone()
    matching[:, 2:, 2:] = pooled
    wrong_corner = target.clone()
    wrong_corner[:, :2, :2] = pooled
    found, missed = (
        losses(t.reshape(1, -1, WIDTH), reference, matrix) for t in (matching, wrong_corner)
    )
    assert found < missed - 1.0


def test_against_a_loop_over_tokens() -> None:
    matrix = torch.tensor([[0.8, 0.2, 3.0], [-0.1, 1.1, -2.0], [0.001, 0.0, 1.0]])
    target, reference = codes(2), codes(3, count=64)
    total, count = 0.0, 0
    half = WIDTH // 2
    for i in range(GRID * GRID):
        x, y = (i % GRID + 0.5) * SIDE / GRID, (i // GRID + 0.5) * SIDE / GRID
        u, v, w = (matrix.double() @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist()
        u, v = u / w, v / w
        if not (0 <= u < SIDE and 0 <= v < SIDE):
            continue
        wanted = np.array(
            [
                np.exp(-((u / 4 - j % 8 - 0.5) ** 2 + (v / 4 - j // 8 - 0.5) ** 2) / (2 * 0.6**2))
                for j in range(64)
            ]
        )
        wanted /= wanted.sum()
        q = target[0, i, :half].double().numpy()
        k = reference[0, :, :half].double().numpy()
        cosines = k @ q / np.linalg.norm(k, axis=1) / np.linalg.norm(q)
        logits = cosines / 0.1
        total -= float((wanted * (logits - np.log(np.exp(logits).sum()))).sum())
        count += 1
    assert 0 < count < GRID * GRID  # some places lie outside the reference
    assert losses(target, reference, matrix) == pytest.approx(total / count, rel=1e-4)


def test_the_other_half_of_the_features_is_free() -> None:
    tokens, changed = codes(), codes()
    changed[..., WIDTH // 2 :] = 0.0
    assert losses(tokens, changed) == losses(tokens, tokens)


def test_only_places_on_the_object_count() -> None:
    tokens = codes().requires_grad_()
    mask = WHOLE.clone()
    mask[..., : SIDE // 2, :] = False
    correspondence_losses(tokens, codes(1), places(), mask).sum().backward()
    assert tokens.grad is not None
    counted = tokens.grad.abs().sum(dim=-1).reshape(GRID, GRID) > 0
    assert not counted[: GRID // 2].any()
    assert counted[GRID // 2 :].all()


def test_unknown_places_cost_and_teach_nothing() -> None:
    tokens = codes().requires_grad_()
    unknown = torch.full((1, PLACES, PLACES, 2), torch.nan)
    value = correspondence_losses(tokens, codes(1), unknown, WHOLE)
    assert float(value.detach()) == 0.0
    value.sum().backward()
    assert tokens.grad is not None
    assert float(tokens.grad.abs().max()) == 0.0


@pytest.mark.parametrize("far", [torch.nan, torch.inf, -1e30, float(SIDE)])
def test_places_off_the_reference_count_for_nothing(far: float) -> None:
    known = places()
    known[:, :, PLACES // 2 :] = far
    tokens = codes().requires_grad_()
    value = correspondence_losses(tokens, codes(1), known, WHOLE)
    value.sum().backward()
    assert tokens.grad is not None
    assert bool(value.isfinite().all())
    assert bool(tokens.grad.isfinite().all())
    counted = tokens.grad.abs().sum(dim=-1).reshape(GRID, GRID) > 0
    assert counted[:, : GRID // 2].all()
    assert not counted[:, GRID // 2 :].any()


@pytest.fixture
def seeing(network: RefinementNetwork) -> RefinementNetwork:
    """The tests' network with a U-Net that sees the encoder's tokens of the masked image."""
    settings = {
        name: network.unet.config[name]
        for name in ("sample_size", "out_channels", "block_out_channels", "norm_num_groups")
    }
    settings |= {"in_channels": 97 + 16, "attention_head_dim": 2, "cross_attention_dim": 16}
    return RefinementNetwork(
        network.autoencoder, network.encoder, network.connector, load_unet(None, settings),
        reference_size=32, train_encoder=True,
    )  # fmt: skip


def test_a_training_step_adds_it_where_places_are_known(
    seeing: RefinementNetwork,
    make_module: Callable[..., RefineByAlignModule],
    make_batch: Callable[..., Batch],
) -> None:
    plain = make_module()
    module = RefineByAlignModule(
        seeing, plain.scheduler, Objective(correspondence_weight=0.5),
        optimizer=torch.optim.AdamW,
        learning_rates={"connector": 1e-3, "unet": 1e-3, "encoder": 1e-3},
        facts=plain.facts,
    )  # fmt: skip
    unknown = make_batch(Mode.REFINEMENT)
    assert float(module.losses(unknown, module.objective).correspondence.detach().max()) == 0.0
    known = dataclasses.replace(make_batch(Mode.ALIGNMENT), places=places().repeat(4, 1, 1, 1))
    found = module.losses(known, module.objective)
    assert float(found.correspondence.min().detach()) > 0.0
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    step = module.training_step(known, 0)
    torch.testing.assert_close(step, (found.losses + 0.5 * found.correspondence).mean())
    logged = module.meter.take()["loss_correspondence_alignment"]
    assert logged == pytest.approx(float(found.correspondence.detach().mean()))
    module.training_step(unknown, 1)
    assert not any("correspondence" in name for name in module.meter.take())
    pairs = dataclasses.replace(known, mode=Mode.REFINEMENT)
    module.training_step(pairs, 2)
    logged = module.meter.take()["loss_correspondence_refinement"]
    assert logged == pytest.approx(float(found.correspondence.detach().mean()), rel=0.5)


def test_it_is_refused_where_it_could_teach_nobody(
    make_module: Callable[..., RefineByAlignModule], network: RefinementNetwork
) -> None:
    module = make_module()
    with pytest.raises(InputError, match="needs an encoder that is trained"):
        RefineByAlignModule(
            network, module.scheduler, Objective(correspondence_weight=0.5),
            optimizer=torch.optim.AdamW,
            learning_rates={"connector": 1e-3, "unet": 1e-3, "encoder": 1e-3},
        )  # fmt: skip
