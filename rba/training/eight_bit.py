"""AdamW whose moments take 8 bits each: a quarter of their memory."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from rba.errors import InputError


def adamw_8bit(
    groups: list[dict[str, Any]],
    *,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    fused: bool | None = None,
) -> Optimizer:
    """Return bitsandbytes' ``AdamW8bit`` ([0]); tensors below 4,096 numbers keep 32 bits.

    Args:
        groups: Named groups of parameters, each with its rate.
        betas: As of `torch.optim.AdamW`.
        eps: As of `torch.optim.AdamW`.
        weight_decay: As of `torch.optim.AdamW`.
        fused: Passed over: one kernel does a tensor's update anyway.

    Raises:
        InputError: If bitsandbytes is not installed.

    [0] Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022.
    """
    del fused
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore
    except ImportError as error:
        raise InputError(
            f"optimizer=adamw_8bit needs bitsandbytes ({error}): pip install "
            "'refine-by-align[8bit]', or take optimizer=adamw"
        ) from error
    return AdamW8bit(groups, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
