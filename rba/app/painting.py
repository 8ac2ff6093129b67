"""Pictures as the browser paints on them, and what was painted as masks of the originals' size."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from rba.geometry import resize

# Longest side in pixels of what the browser paints on: its canvas copies the picture several times.
# The original is never scaled; the painted mask is scaled up to it.
SHOWN_SIDE = 1280
DEFECT_COLOUR = (255, 64, 96)
REGION_COLOUR = (40, 120, 255)
OPACITY = 0.55


def shown(image: np.ndarray, side: int = SHOWN_SIDE) -> np.ndarray:
    """Return a picture scaled down so that no side is longer than ``side`` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    return resize(image, max(round(height * scale), 1), max(round(width * scale), 1))


def painted_layer(mask: np.ndarray, size: tuple[int, int], colour: tuple[int, int, int]) -> Any:
    """Return a mask as the browser would have painted it.

    Args:
        mask: HxW bool in any size.
        size: (height, width) of the layer in pixels.
        colour: RGB.

    Returns:
        height x width x 4 uint8 RGBA.
    """
    seen = scaled_mask(mask, *size)
    layer = np.zeros((*size, 4), np.uint8)
    layer[seen] = (*colour, round(255 * OPACITY))
    return layer


def painted_mask(value: Mapping[str, Any] | None, size: tuple[int, int]) -> np.ndarray:
    """Return what was painted on a picture.

    A pixel counts where a stroke covers at least half of it; erased and soft edges do not.

    Args:
        value: What the editor gives: ``layers``, HxWx4 uint8 RGBA each; None = nothing.
        size: (height, width) of the original in pixels.

    Returns:
        height x width bool.
    """
    mask = np.zeros(size, bool)
    layers: Sequence[np.ndarray] = (value or {}).get("layers") or ()
    for layer in layers:
        if layer.ndim == 3 and layer.shape[2] == 4:
            mask |= scaled_mask(layer[..., 3] >= round(255 * OPACITY / 2), *size)
    return mask


def scaled_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale an HxW bool mask with smooth edges.

    Returns:
        height x width bool; not empty where ``mask`` is not.
    """
    if mask.shape == (height, width):
        return mask.copy()
    shrinks = height * width < mask.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    soft = cv2.resize(mask.astype(np.float32), (width, height), interpolation=method)
    scaled = soft >= 0.5
    if mask.any() and not scaled.any():
        scaled = soft >= soft.max()
    return scaled


def same_painting(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two HxW masks differ by no more than the browser's edges make them differ."""
    if first.shape != second.shape:
        return False
    either = int((first | second).sum())
    return int((first ^ second).sum()) <= 0.01 * either
