"""Tensors between host and device, where the host does not wait for the device."""

import torch
from torch import Tensor


class HostCopy:
    """A copy that is under way until the device has come to it.

    Args:
        tensor: On any device; what it holds at this point of the device's work is copied.
    """

    def __init__(self, tensor: Tensor) -> None:
        # To the host without blocking means into pinned memory.
        self._copy = tensor.detach().to("cpu", non_blocking=True, copy=True)
        self._done: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def get(self) -> Tensor | None:
        """Return the copy, or None while it is under way."""
        return self._copy if self._done is None or self._done.query() else None

    def wait(self) -> Tensor:
        """Return the copy, once the device has come to it; what was queued later goes on."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device.

    From memory that is not page-locked a GPU copies only after all that was queued before.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
