"""The contract between data and model: one example, and a validated batch of them."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

PLACES = 16  # squares along a side of the target whose places on the reference a batch holds


class Mode(enum.StrEnum):
    """The two kinds of training batches (method: alternated by batch)."""

    ALIGNMENT = "alignment"
    REFINEMENT = "refinement"


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class BadSample:
    """A stored sample whose bytes cannot become an example: the next one of the order stands in.

    Attributes:
        dataset: Name of the shard set.
        shard: Name of the tar.
        index: Number of the sample in the shard.
        key: Name of the sample in the shard, "" where its bytes do not even tell that.
        reason: What is wrong, the same words wherever it is the same.
        detail: Particulars of this sample.
    """

    dataset: str
    shard: str
    index: int
    key: str
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        key = f" ({self.key})" if self.key else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"sample {self.index}{key} of {self.dataset}/{self.shard}: {self.reason}{detail}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One training example as the loader makes it: channels-last bytes, and one soft mask.

    Attributes:
        image: HxWx3 uint8 RGB, the clean target.
        artifact_mask: HxW bool, 1 = repaint, never empty.
        reference: RxRx3 uint8 RGB.
        reference_mask: RxR bool, the object; all true = unknown.
        correspondence_mask: RxR float32 in [0, 1], where the hole's content lies on the reference.
        correspondence_known: False leaves the example out of mIoU.
        places: GxGx2 float, where the middles (x, y) of G x G squares of the target lie on the
            reference, pixels; NaN where that is unknown or not to be seen; None = all unknown.
        draw: Global draw number (see `rba.draws`).
        sample_id: ``dataset/shard/key``.
        weight: Loss weight; 0 = padding.
        replaced: The bad samples that this example stands in for.
    """

    image: np.ndarray
    artifact_mask: np.ndarray
    reference: np.ndarray
    reference_mask: np.ndarray
    correspondence_mask: np.ndarray
    correspondence_known: bool
    draw: int
    sample_id: str
    weight: float = 1.0
    places: np.ndarray | None = None
    replaced: tuple[BadSample, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormalizedBatch:
    """Floats of a batch on its device: images and references in [-1, 1], masks in {0, 1}."""

    image: Tensor
    artifact_mask: Tensor
    masked_image: Tensor
    reference: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of one mode. B examples, H W pixels, R the reference's side.

    Attributes:
        mode: The mode that all examples share.
        image: [B, 3, H, W] uint8, the clean target; channels may be last in memory.
        artifact_mask: [B, 1, H, W] bool, 1 = repaint, never empty.
        reference: [B, 3, R, R] uint8.
        reference_mask: [B, 1, R, R] bool, the object; all true = unknown.
        correspondence_mask: [B, 1, R, R] float in [0, 1], where the hole's content lies.
        correspondence_known: [B] bool; false = left out of mIoU and counted.
        places: [B, G, G, 2] float, where the middles (x, y) of G x G squares of the target lie on
            the reference, pixels; NaN = unknown. G is `PLACES`.
        draws: [B] int64, global draw numbers; in main memory wherever the rest is.
        weight: [B] float, 0 = padding.
        sample_ids: B strings ``dataset/shard/key``.
        replaced: The bad samples that were met, in the order of the batch.

    Raises:
        ValueError: If a shape, dtype or range breaks the contract.
    """

    mode: Mode
    image: Tensor
    artifact_mask: Tensor
    reference: Tensor
    reference_mask: Tensor
    correspondence_mask: Tensor
    correspondence_known: Tensor
    places: Tensor
    draws: Tensor
    weight: Tensor
    sample_ids: tuple[str, ...]
    replaced: tuple[BadSample, ...] = ()

    def __post_init__(self) -> None:
        for name in ("image", "reference"):
            if getattr(self, name).ndim != 4:
                shape = tuple(getattr(self, name).shape)
                raise ValueError(f"Batch.{name} is {shape}, expected [B, 3, height, width]")
        for name, (shape, dtype) in self._contract().items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(
                    f"Batch.{name} is {tensor.dtype} {tuple(tensor.shape)}, "
                    f"expected {dtype} {shape}"
                )
        if len(self.sample_ids) != len(self):
            raise ValueError(f"Batch of {len(self)} has {len(self.sample_ids)} sample ids")

    def _contract(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        size, _, height, width = self.image.shape
        side = self.reference.shape[-1]
        return {
            "image": ((size, 3, height, width), torch.uint8),
            "artifact_mask": ((size, 1, height, width), torch.bool),
            "reference": ((size, 3, side, side), torch.uint8),
            "reference_mask": ((size, 1, side, side), torch.bool),
            "correspondence_mask": ((size, 1, side, side), torch.float32),
            "correspondence_known": ((size,), torch.bool),
            "places": ((size, PLACES, PLACES, 2), torch.float32),
            "draws": ((size,), torch.int64),
            "weight": ((size,), torch.float32),
        }

    def __len__(self) -> int:
        return int(self.image.shape[0])

    @classmethod
    def collate(
        cls,
        mode: Mode,
        examples: Sequence[Example],
        *,
        stack: Callable[[list[Tensor]], Tensor] = torch.stack,
    ) -> "Batch":
        """Stack examples of one mode, checking what only the loader can check cheaply.

        Args:
            mode: Of all examples.
            examples: At least one.
            stack: Makes one tensor of tensors of one shape.

        Raises:
            ValueError: If the list or an artifact mask is empty, a soft mask leaves [0, 1], or
                sizes differ.
        """
        if not examples:
            raise ValueError("cannot collate an empty list of examples")
        for example in examples:
            if not example.artifact_mask.any():
                raise ValueError(f"empty artifact mask in {example.sample_id}")
            soft = example.correspondence_mask
            if not (float(soft.min()) >= 0.0 and float(soft.max()) <= 1.0):
                raise ValueError(f"correspondence mask of {example.sample_id} leaves [0, 1]")
        images = {
            name: _stack([getattr(example, name) for example in examples], stack)
            for name in ("image", "artifact_mask", "reference", "reference_mask")
        }
        return cls(
            mode=mode,
            **images,
            correspondence_mask=_stack([e.correspondence_mask for e in examples], stack).float(),
            correspondence_known=torch.tensor([e.correspondence_known for e in examples]),
            places=torch.from_numpy(np.stack([_places(e) for e in examples])),
            draws=torch.tensor([e.draw for e in examples], dtype=torch.int64),
            weight=torch.tensor([e.weight for e in examples], dtype=torch.float32),
            sample_ids=tuple(e.sample_id for e in examples),
            replaced=tuple(bad for e in examples for bad in e.replaced),
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed = {
            field.name: function(value)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Self:
        """Return the batch with its tensors on ``device``; the host reads ``draws`` where it is."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return dataclasses.replace(moved, draws=self.draws)

    def pin_memory(self) -> Self:
        """Return the batch with its tensors in page-locked memory (the loader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def normalized(self) -> NormalizedBatch:
        """Turn bytes into contiguous floats on its device; the hole is blanked to 0 (mid-grey)."""
        image = _to_range(self.image)
        mask = self.artifact_mask.float()
        return NormalizedBatch(
            image=image,
            artifact_mask=mask,
            masked_image=image * (1.0 - mask),
            reference=_to_range(self.reference),
        )


def _places(example: Example) -> np.ndarray:
    if example.places is None:
        return np.full((PLACES, PLACES, 2), np.nan, np.float32)
    return example.places.astype(np.float32)


def _to_range(pixels: Tensor) -> Tensor:
    """Turn bytes into floats in [-1, 1], channels first in memory."""
    floats = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
    return floats.copy_(pixels).div_(127.5).sub_(1.0)


def _stack(arrays: Sequence[np.ndarray], stack: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """Stack HxW or HxWxC arrays into [B, C, H, W]; channels stay last in memory."""
    sizes = {array.shape for array in arrays}
    if len(sizes) > 1:
        raise ValueError(f"examples of sizes {sorted(sizes)} do not form a batch")
    stacked = stack([torch.from_numpy(array) for array in arrays])
    return stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
