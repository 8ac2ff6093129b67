"""Running means of losses by mode and timestep range, without a host synchronisation a step."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from rba.batch import Mode
from rba.training.host_copy import HostCopy, to_device


class LossMeter:
    """Sums of per-sample values in one vector, read out and reset at intervals.

    Reading a loss only at every n-th step would always see the same mode when n is even and modes
    alternate; a mean over the interval sees both. The order of keys is fixed, so that the vector
    can be summed over ranks.

    Args:
        num_train_timesteps: Length T of the noise schedule.
        num_ranges: How many equal timestep ranges are told apart.
    """

    def __init__(self, num_train_timesteps: int, num_ranges: int = 4) -> None:
        edges = [num_train_timesteps * i // num_ranges for i in range(num_ranges + 1)]
        self._edges = torch.tensor(edges[1:-1])
        ranges = [f"t{low:03d}-{high - 1:03d}" for low, high in itertools.pairwise(edges)]
        self._names: list[str] = []
        for mode in Mode:
            self._names += [f"loss_{mode}", f"loss_in_hole_{mode}"]
            self._names += [f"loss_{mode}_{name}" for name in ranges]
        self._names += [f"loss_correspondence_{mode}" for mode in Mode]
        self._sums = torch.zeros(2, len(self._names), dtype=torch.float64)
        self._stride = 2 + num_ranges

    def add(
        self, mode: Mode, losses: Tensor, in_hole: Tensor, timesteps: Tensor, weight: Tensor
    ) -> None:
        """Add a batch; a sample whose loss is not finite is left out.

        Args:
            mode: The batch's mode.
            losses: [B] per-sample loss.
            in_hole: [B] per-sample error inside the hole.
            timesteps: [B] int64 on the CPU.
            weight: [B] sample weights, 0 = padding.
        """
        self._sums = self._sums.to(losses.device)
        losses, in_hole, weight = _finite(losses, in_hole, weight)
        start = list(Mode).index(mode) * self._stride
        ranges = to_device(torch.bucketize(timesteps, self._edges, right=True), losses.device)
        values = torch.stack([losses.detach() * weight, weight]).double()
        self._sums[:, start] += values.sum(dim=1)
        self._sums[0, start + 1] += (in_hole.detach() * weight).sum()
        self._sums[1, start + 1] += weight.sum()
        self._sums[:, start + 2 : start + self._stride].index_add_(1, ranges, values)

    def add_correspondence(self, mode: Mode, losses: Tensor, weight: Tensor) -> None:
        """Add the [B] `correspondence_losses` of a batch, with its sample weights.

        Samples of which no place is known, whose loss is 0, are left out.
        """
        self._sums = self._sums.to(losses.device)
        losses, _, weight = _finite(losses, losses, weight * (losses > 0))
        place = len(Mode) * self._stride + list(Mode).index(mode)
        self._sums[:, place] += torch.stack([losses.detach() * weight, weight]).double().sum(dim=1)

    def take(self) -> dict[str, float]:
        """Return the means since the last call (over all ranks) and reset; empty keys left out."""
        sums = self._sums.clone()
        self._sums.zero_()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        return self.means(sums)

    def sums_so_far(self) -> HostCopy:
        """Return this rank's sums since the last `take`, for `means`; nothing is waited for."""
        return HostCopy(self._sums)

    def means(self, sums: Tensor) -> dict[str, float]:
        """Return the means of some sums; empty keys left out."""
        totals, counts = sums.tolist()
        return _means(self._names, totals, counts)


def _finite(losses: Tensor, others: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give weight 0 and zeros to the samples of which one of the two values is not finite."""
    finite = losses.isfinite() & others.isfinite()
    zero = torch.zeros_like(losses)
    return losses.where(finite, zero), others.where(finite, zero), weight * finite


def _means(
    names: Sequence[str], totals: Sequence[float], counts: Sequence[float]
) -> dict[str, float]:
    rows = zip(names, totals, counts, strict=True)
    return {name: total / count for name, total, count in rows if count > 0}
