"""Latents and tokens of pictures that come again, encoded once."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.errors import InputError

_log = logging.getLogger(__name__)
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of a float
_SUMS = 2  # of 64 bits


class EncodingCache(Callback):
    """Keep what the autoencoder and a frozen encoder make of a picture, in main memory.

    Validation sees the same pictures each time, and each several times (loss, maps, pictures,
    heatmap). Training does where each sample has a fixed number of examples
    (``data.examples_per_sample``).

    A picture is known by its pixels, so nothing stale is ever given; frozen weights never change in
    a run. Each is encoded alone: what is kept does not depend on the batch that it came in first,
    and a resumed run, which begins with nothing, stays exact. It differs from what a whole batch
    gives by rounding.

    Args:
        gigabytes: 10**9 bytes of main memory at most, on each rank; 0 = off. When they are used,
            further pictures are encoded each time. At 512 px and DINOv2 ViT-L an example takes
            1.2 MB.
        training: In training, too.

    Raises:
        InputError: If the size is negative, or 0 and training is to use it.
    """

    def __init__(self, gigabytes: float = 0.0, *, training: bool = False) -> None:
        if gigabytes < 0 or (training and not gigabytes):
            raise InputError(
                f"callbacks.encoding_cache: gigabytes={gigabytes} training={training}; give a size "
                "above 0, or gigabytes=0 training=false to keep nothing"
            )
        self.training = training
        self._room = int(gigabytes * 1e9)  # bytes
        self._used = 0  # bytes
        self._is_on = training
        self._kept: dict[tuple[Any, ...], Tensor] = {}
        self._keys = _PictureKeys()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stand before the network's own encoding."""
        network: Any = pl_module.network
        if not self._room:
            return
        network.encode_images = self._remembering("latents", network.encode_images)
        if not network.train_encoder:
            network.encode_tokens = self._remembering("tokens", network.encode_tokens)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation's pictures are the same each time."""
        self._is_on = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training's are where the settings say so."""
        self._is_on = self.training

    def _remembering(
        self, kind: str, encode: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor], Tensor]:
        def remembering(images: Tensor) -> Tensor:
            if not self._is_on:
                return encode(images)
            rows = [
                self._row((kind, *key), image, encode)
                for key, image in zip(self._keys(images), images.split(1), strict=True)
            ]
            return torch.cat(rows)

        return remembering

    def _row(
        self, key: tuple[Any, ...], image: Tensor, encode: Callable[[Tensor], Tensor]
    ) -> Tensor:
        if (kept := self._kept.get(key)) is not None:
            return kept.to(image.device, non_blocking=True)
        row = encode(image)
        if self._used + row.nbytes <= self._room:
            self._kept[key] = row.to("cpu", copy=True)
            self._used += row.nbytes
        elif self._used < self._room:
            self._used = self._room  # said once
            _log.warning(
                "callbacks.encoding_cache.gigabytes=%g is full with %d encodings; other pictures "
                "are encoded each time they come", self._room / 1e9, len(self._kept),
            )  # fmt: skip
        return row


class _PictureKeys:
    """Names pictures by all that their encoding depends on, without bringing pixels to the host.

    Two sums of the pixels' bits, each times a random odd number, modulo 2**64: different pictures
    share both by a chance below 2**-64.
    """

    def __init__(self) -> None:
        self._factors: dict[tuple[int, torch.device], Tensor] = {}  # [_SUMS, pixels] int64

    def __call__(self, images: Tensor) -> list[tuple[Any, ...]]:
        """[B, 3, H, W] => B keys."""
        bits = images.contiguous().view(_INTEGERS[images.element_size()]).flatten(1)
        factors = self._factors_of(bits.shape[1], images.device)
        # Row by row: products of 64 bits take twice the memory of the pixels.
        sums = torch.stack([torch.stack([(row * f).sum() for f in factors]) for row in bits])
        kind = images.device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        facts = (tuple(images.shape[1:]), images.dtype, cast)
        return [(*facts, *row) for row in sums.tolist()]

    def _factors_of(self, count: int, device: torch.device) -> Tensor:
        if (count, device) not in self._factors:
            generator = torch.Generator().manual_seed(count)
            drawn = torch.randint(-(2**62), 2**62, (_SUMS, count), generator=generator)
            self._factors[count, device] = (2 * drawn + 1).to(device)
        return self._factors[count, device]
