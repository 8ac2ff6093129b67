"""The moving average of weights, which can leave a step out without the host's knowing."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor


class DeviceAverage(EMAModel):
    """diffusers' `EMAModel` whose count of steps lies on the device.

    Its decay is that of `EMAModel` without settings but ``decay``:
    ``min((1 + n) / (10 + n), decay)`` at step n > 0, and 0 at the first.

    Args:
        parameters: What is averaged, in float32.
        decay: Upper bound of the decay.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._count = torch.zeros((), device=parameters[0].device)  # exact up to 2^24 steps
        super().__init__(parameters, decay=decay)  # pyright: ignore

    @property
    def optimization_step(self) -> int:
        """How many steps are in the average; to read it waits for the device."""
        return int(self._count)

    @optimization_step.setter
    def optimization_step(self, count: int) -> None:
        self._count.fill_(count)

    def to(self, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> None:
        """Move it."""
        super().to(device, dtype, non_blocking)
        self._count = self._count.to(device)

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor], done: Tensor | None = None) -> None:  # pyright: ignore
        """Average once.

        Args:
            parameters: As at the start, beside the average.
            done: 0 leaves this step out, 1 or None does not; a tensor of one number.
        """
        done = torch.ones_like(self._count) if done is None else done.to(self._count)
        self._count += done
        # 1 - decay, written so that float32 keeps its digits.
        share = (9.0 / (9.0 + self._count)).clamp(min=1.0 - self.decay)
        share = torch.where(self._count <= 1.0, torch.ones_like(share), share) * done
        # One pass, without a copy of all weights for the differences.
        lerp: Any = torch._foreach_lerp_  # pyright: ignore  # no public name
        lerp(self.shadow_params, list(parameters), [share] * len(parameters))
