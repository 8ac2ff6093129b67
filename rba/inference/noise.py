"""Where inference gets its starting noise from."""

import dataclasses
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rba.draws import keyed_generator


class NoiseSource(Protocol):
    """Makes one batch of standard normal noise for a named purpose."""

    def __call__(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return float32 noise of ``shape`` [B, C, h, w], on the CPU."""
        ...


@dataclasses.dataclass(frozen=True)
class KeyedNoise:
    """Noise as a pure function of (seed, purpose, draw number) of each example.

    An example gets the same noise alone and in any batch, on any device.

    Attributes:
        seed: The caller's seed.
        draws: One number an example; B of them.
    """

    seed: int
    draws: tuple[int, ...]

    def __call__(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return float32 noise of ``shape`` [B, C, h, w], on the CPU.

        Raises:
            ValueError: If ``shape`` asks for another number of examples.
        """
        if shape[0] != len(self.draws):
            raise ValueError(
                f"noise for {shape[0]} examples, but there are {len(self.draws)} draws"
            )
        return torch.from_numpy(
            np.stack(
                [
                    keyed_generator(self.seed, purpose, "inference", draw).standard_normal(
                        shape[1:], np.float32
                    )
                    for draw in self.draws
                ]
            )
        )


@dataclasses.dataclass(frozen=True)
class GeneratorNoise:
    """Noise from a ``torch.Generator``, as diffusers' pipelines take one."""

    generator: torch.Generator

    def __call__(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return float32 noise of ``shape`` [B, C, h, w], on the CPU; calls follow one another."""
        del purpose
        device = self.generator.device
        return torch.randn(shape, generator=self.generator, device=device).cpu()
