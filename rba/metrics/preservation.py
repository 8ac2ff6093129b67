"""What refining did to the pixels it had no business with."""

import numpy as np


def max_change_outside(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> int:
    """Return the largest absolute difference outside a mask, in grey levels of 255.

    Args:
        before: HxWx3 uint8.
        after: HxWx3 uint8.
        mask: HxW bool, where pixels may change: the feathered mask above 0.

    Returns:
        0 where nothing changed, and where the mask covers everything.

    Raises:
        ValueError: If sizes disagree.
    """
    if before.shape != after.shape or before.shape[:2] != mask.shape:
        raise ValueError(f"shapes disagree: {before.shape}, {after.shape}, mask {mask.shape}")
    difference = np.abs(before[~mask].astype(np.int16) - after[~mask].astype(np.int16))
    return int(difference.max(initial=0))
