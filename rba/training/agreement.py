"""What the ranks agree on in a step, without a host that waits for its device."""

import torch
from torch import Tensor

from rba.training.host_copy import HostCopy


def largest_of_ranks(tensor: Tensor) -> Tensor:
    """Return the largest of all ranks' values, in place; all ranks call this.

    Lightning's own ``reduce`` begins with a barrier, at which the host waits.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return tensor


class LateAgreement:
    """The largest number of all ranks, known one step later, and on all of them in the same step.

    By then the device has long been through it, with the next step queued behind.
    """

    def __init__(self) -> None:
        self._sent: HostCopy | None = None

    def exchange(self, number: int, device: torch.device) -> int:
        """Send this rank's number; return what the call before has brought, 0 at first."""
        before, self._sent = self._sent, HostCopy(_sent(number, device))
        return 0 if before is None else int(before.wait())

    def forget(self) -> None:
        """Drop what is under way; all ranks call this."""
        self._sent = None


def agree_now(number: int, device: torch.device) -> int:
    """Return the largest number of all ranks; the host waits for it."""
    return int(_sent(number, device))


def _sent(number: int, device: torch.device) -> Tensor:
    # Filled on the device: `torch.tensor` would copy, and the host wait for that.
    return largest_of_ranks(torch.full((), number, dtype=torch.int64, device=device))
