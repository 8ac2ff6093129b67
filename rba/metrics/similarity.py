"""Similarity of two pictures by an encoder's features."""

import numpy as np


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of two feature vectors, in [-1, 1]; NaN where one is 0.

    Args:
        first: [C] float.
        second: [C] float.

    Raises:
        ValueError: If they are no vectors of one length.
    """
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two vectors of one length: {first.shape}, {second.shape}")
    one, other = first.astype(np.float64), second.astype(np.float64)
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.clip(one @ other / length, -1.0, 1.0)) if length > 0 else float("nan")
