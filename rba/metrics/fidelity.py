"""Fidelity of the repainted pixels to the truth, inside the artifact mask only."""

import math
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

_WINDOW = 7  # pixels, scikit-image's default SSIM window


def psnr_in_hole(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB over the mask's pixels, range 1.

    Args:
        image: HxWx3 uint8.
        truth: HxWx3 uint8.
        mask: HxW bool, the artifact mask (not the feathered one), not empty.

    Returns:
        dB; infinity where the pixels are equal.

    Raises:
        ValueError: If sizes or types disagree or the mask is empty.
    """
    _check(image, truth, mask)
    difference = (image[mask].astype(np.float64) - truth[mask].astype(np.float64)) / 255.0
    error = float(np.mean(difference**2))
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def ssim_in_hole(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean of the SSIM map (7x7 windows, mean over channels) over the mask's pixels.

    Args:
        image: HxWx3 uint8.
        truth: HxWx3 uint8.
        mask: HxW bool, the artifact mask, not empty.

    Returns:
        A number in [-1, 1]. Images below 7 pixels are continued by reflection.

    Raises:
        ValueError: If sizes or types disagree or the mask is empty.
    """
    _check(image, truth, mask)
    height, width = mask.shape
    missing = ((0, max(_WINDOW - height, 0)), (0, max(_WINDOW - width, 0)), (0, 0))
    padded = [np.pad(array, missing, mode="symmetric") for array in (image, truth)]
    compared: Any = structural_similarity(*padded, win_size=_WINDOW, channel_axis=2, full=True)
    return float(compared[1][:height, :width][mask].mean())


def _check(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
    if image.shape != truth.shape or image.shape[:2] != mask.shape:
        raise ValueError(f"shapes disagree: {image.shape}, {truth.shape}, mask {mask.shape}")
    if image.dtype != np.uint8 or truth.dtype != np.uint8 or mask.dtype != bool:
        raise ValueError(f"expected uint8, uint8, bool: {image.dtype}, {truth.dtype}, {mask.dtype}")
    if not mask.any():
        raise ValueError("the mask is empty")
