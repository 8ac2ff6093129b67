"""Memory in use, read without waiting for the device."""

import psutil
import torch

_GIB = 2**30


def memory_figures(device: torch.device) -> dict[str, float]:
    """Return GiB in use.

    ``gpu_peak_gib``: most that tensors held since the process started, and ``gpu_reserved_gib``:
    most that the allocator took from the GPU (what ``nvidia-smi`` shows, less the context), on a
    CUDA device. ``process_gib``: resident memory of this process now, ``workers_gib``: of the
    processes it started, memory that they share counted for each.
    """
    process = psutil.Process()
    resident, children = process.memory_info().rss, 0
    for child in process.children(recursive=True):
        try:
            children += child.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    figures = {"process_gib": resident / _GIB, "workers_gib": children / _GIB}
    if device.type == "cuda":
        figures["gpu_peak_gib"] = torch.cuda.max_memory_allocated(device) / _GIB
        figures["gpu_reserved_gib"] = torch.cuda.max_memory_reserved(device) / _GIB
    return figures
