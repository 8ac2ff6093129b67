"""Latents and tokens that are kept: what they equal, when they are used, what they may take."""

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from rba.batch import Batch, Mode
from rba.errors import InputError
from rba.models.checkpoint import read_checkpoint
from rba.models.network import RefinementNetwork
from rba.settings import check_train_settings, compose_config
from rba.training.callbacks.encoding_cache import EncodingCache
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer
from rba.training.validation import correspondence_maps

BatchMaker = Callable[..., Batch]


@pytest.fixture
def make(network: RefinementNetwork, scheduler: Any) -> Callable[..., RefineByAlignModule]:
    """Modules around copies of one network, whose encoder is frozen as in the paper."""

    def module(*, train_encoder: bool = False) -> RefineByAlignModule:
        own = copy.deepcopy(network)
        own.train_encoder = train_encoder
        own.encoder.requires_grad_(train_encoder)
        parts = ("connector", "unet", "encoder") if train_encoder else ("connector", "unet")
        return RefineByAlignModule(
            own, scheduler, Objective(),
            optimizer=functools.partial(torch.optim.AdamW),
            learning_rates=dict.fromkeys(parts, 1e-3),
            facts={"image_size": 32, "config": {}},
        )  # fmt: skip

    return module


def put_on(module: RefineByAlignModule, cache: EncodingCache) -> dict[str, list[int]]:
    """Put a cache on a network; the numbers of pictures that each call still encodes."""
    encoded: dict[str, list[int]] = {"latents": [], "tokens": []}
    network: Any = module.network

    def counted(kind: str, encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def count(images: Tensor) -> Tensor:
            encoded[kind].append(len(images))
            return encode(images)

        return count

    network.encode_images = counted("latents", network.encode_images)
    network.encode_tokens = counted("tokens", network.encode_tokens)
    cache.setup(SimpleNamespace(), module, "fit")  # pyright: ignore
    return encoded


@torch.no_grad()
def validate(module: RefineByAlignModule, batch: Batch) -> tuple[Tensor, Tensor]:
    losses = module.losses(batch, module.objective).losses
    maps = correspondence_maps(module.network, module.scheduler, batch, module.validation, 0)
    return losses, maps


def test_validation_measures_the_same_and_encodes_each_picture_once(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker
) -> None:
    module, batches = make(), [make_batch(), make_batch(Mode.REFINEMENT, first=4)]
    expected = [validate(module, batch) for batch in batches]
    cache = EncodingCache(1.0)
    encoded = put_on(module, cache)
    module.losses(batches[0], module.objective)
    assert encoded == {"latents": [8], "tokens": [4]}  # in training nothing is kept
    cache.on_validation_start(None, module)  # pyright: ignore
    first = [validate(module, batch) for batch in batches]
    assert encoded == {"latents": [8] + [1] * 16, "tokens": [4] + [1] * 8}
    again = [validate(module, batch) for batch in batches]
    assert sum(encoded["latents"]) == 8 + 16  # image and masked image of 8 examples
    assert sum(encoded["tokens"]) == 4 + 8
    cache.on_validation_end(None, module)  # pyright: ignore
    for one, two, three in zip(expected, first, again, strict=True):
        for before, kept, used in zip(one, two, three, strict=True):
            torch.testing.assert_close(kept, before, rtol=1e-5, atol=1e-6)
            assert torch.equal(used, kept)


def test_what_is_kept_does_not_depend_on_the_batch_it_came_in(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker
) -> None:
    one, two = make(), make()
    for module in (one, two):
        put_on(module, EncodingCache(1.0, training=True))
    one.network.encode_images(make_batch(first=0, size=2).normalized().image)
    pixels = make_batch(first=0, size=4).normalized().image
    assert torch.equal(one.network.encode_images(pixels), two.network.encode_images(pixels))


def test_a_trained_encoder_is_asked_each_time(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker
) -> None:
    module = make(train_encoder=True)
    encoded = put_on(module, EncodingCache(1.0, training=True))
    for _ in range(2):
        module.losses(make_batch(), module.objective).losses.sum().backward()
    assert encoded == {"latents": [1] * 8, "tokens": [4, 4]}
    assert next(module.network.encoder.parameters()).grad is not None


def test_a_full_cache_says_so_once_and_encodes_the_rest(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    module, pixels = make(), make_batch().normalized().image
    expected = module.network.encode_images(pixels)
    row = expected[0].nbytes
    encoded = put_on(module, EncodingCache(2.5 * row / 1e9, training=True))
    for _ in range(2):
        found = module.network.encode_images(pixels)
        torch.testing.assert_close(found, expected)
    assert sum(encoded["latents"]) == 4 + 2
    assert [r.message for r in caplog.records if "is full with 2 encodings" in r.message] != []
    assert len(caplog.records) == 1


def test_other_pixels_other_precision_other_encodings(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker
) -> None:
    module, pixels = make(), make_batch(size=1).normalized().image
    encoded = put_on(module, EncodingCache(1.0, training=True))
    changed = pixels.clone()
    changed[0, 2, 31, 31] += 1 / 127.5
    mirrored = pixels.flip(-1)
    for images in (pixels, changed, mirrored, pixels):
        module.network.encode_tokens(images)
    assert sum(encoded["tokens"]) == 3
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.network.encode_tokens(pixels)
    assert sum(encoded["tokens"]) == 4
    assert not torch.equal(rounded, module.network.encode_tokens(pixels))
    assert sum(encoded["tokens"]) == 4


class Repeated(IterableDataset):
    """Batches of the same eight pictures, each time under other draw numbers and in another mix."""

    def __init__(self, make_batch: BatchMaker, first: int) -> None:
        self.make_batch, self.first = make_batch, first

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.first, 100):
            batch = self.make_batch(list(Mode)[step % 2], first=3 * step % 7, size=2)
            yield batch._map(lambda x, n=step: x + 100 * n if x.dtype == torch.int64 else x)


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
def test_training_equals_that_without_up_to_rounding_and_a_resume_is_exact(
    make: Callable[..., RefineByAlignModule], make_batch: BatchMaker, tmp_path: Path,
    equal: Callable[[Any, Any], bool],
) -> None:  # fmt: skip
    settings = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "precision": "32-true"}

    def trained(
        cache: EncodingCache, name: str, steps: int, start: Path | None = None, first: int = 0
    ) -> Path:
        trainer = make_trainer(
            settings | {"enable_progress_bar": False, "limit_val_batches": 0},
            callbacks=[cache], loggers=[], max_steps=steps, validate_every_n_steps=100,
            accumulation=1, samples_file=None,
        )  # fmt: skip
        loader = DataLoader(Repeated(make_batch, first), batch_size=None)
        trainer.fit(make(), loader, ckpt_path=start, weights_only=True)
        trainer.save_checkpoint(tmp_path / name)
        return tmp_path / name

    plain = read_checkpoint(trained(EncodingCache(), "plain", 8))["state_dict"]
    whole = read_checkpoint(trained(EncodingCache(1.0, training=True), "whole", 8))["state_dict"]
    half = trained(EncodingCache(1.0, training=True), "half", 5)
    rest = trained(EncodingCache(1.0, training=True), "rest", 8, half, 5)
    assert equal(read_checkpoint(rest)["state_dict"], whole)
    moved = read_checkpoint(half)["state_dict"]
    assert not equal(moved, whole)
    for name, weight in plain.items():
        torch.testing.assert_close(whole[name], weight, rtol=1e-3, atol=1e-5, msg=name)


SHARDS = ["experiment=tiny", "data.alignment.shards=a", "data.refinement.shards=b"]


def test_caching_what_is_drawn_anew_is_refused_with_the_way_out() -> None:
    cached = ["callbacks.encoding_cache.training=true", "callbacks.encoding_cache.gigabytes=1"]
    with pytest.raises(InputError, match=r"give data\.examples_per_sample=1"):
        check_train_settings(compose_config("train", [*SHARDS, *cached]))
    fixed = "data.examples_per_sample=1"
    check_train_settings(compose_config("train", [*SHARDS, *cached, fixed]))


@pytest.mark.parametrize("values", [(-1.0, False), (0.0, True)])
def test_sizes_that_keep_nothing_are_refused(values: tuple[float, bool]) -> None:
    with pytest.raises(InputError, match="give a size above 0"):
        EncodingCache(values[0], training=values[1])
