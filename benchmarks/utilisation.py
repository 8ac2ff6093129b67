"""How near a step is to what the machine can: its matrix rate, and what the time goes to."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

_SIDES = {"cpu": 1024, "cuda": 8192}
_LEAST_SECONDS = 1.0  # of a measurement


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of one large matrix product, the median.

    Processor seconds on a CPU, of the threads that torch has; the clock on a GPU.
    """
    side = _SIDES[device]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    rates: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < _LEAST_SECONDS or len(rates) < 5:
        started = _now(device)
        for _ in range(4):
            torch.mm(left, right)
        rates.append(4 * 2 * side**3 / (_now(device) - started))
    return statistics.median(rates[1:])


def count_flops(step: Callable[[], object]) -> float:
    """Return the floating-point operations of the matrices, convolutions and attention of a call.

    A multiplication and an addition are two.
    """
    known, ops = flop_registry, torch.ops.aten
    flash = "_scaled_dot_product_flash_attention"  # torch's counter knows those of GPUs alone
    of_cpu: dict[Any, Any] = {
        getattr(ops, f"{flash}_for_cpu{way}"): _raw(known[getattr(ops, flash + way)])
        for way in ("", "_backward")
    }
    with FlopCounterMode(display=False, custom_mapping=of_cpu) as counter:
        step()
    return float(counter.get_total_flops())


def largest(profile: Any, device: str, count: int = 12) -> list[dict[str, Any]]:
    """Return the operations that take most of a profiled step, by their own time.

    Args:
        profile: A torch profiler that has ended.
        device: Whose time.
        count: How many.
    """
    time_of = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    rows = [(getattr(row, time_of), row.key, row.count) for row in profile.key_averages()]
    total = sum(spent for spent, _, _ in rows)
    return [
        {"operation": key, "calls": calls, "share": round(spent / total, 4)}
        for spent, key, calls in sorted(rows, reverse=True)[:count]
    ]


def make_profile(device: str) -> Any:
    """Return a profiler of the host's operations, and of the GPU's kernels where there is one."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=kinds, acc_events=True)


def _raw(formula: Callable[..., int]) -> Callable[..., int]:
    """Return a formula of torch's registry for a custom mapping, which would wrap it once more."""

    def counted(*arguments: Any, **options: Any) -> int:
        return formula(*arguments, **options)

    counted._get_raw = True  # pyright: ignore[reportFunctionMemberAccess]
    return counted


def _now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
