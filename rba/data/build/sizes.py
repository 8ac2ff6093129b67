"""What the loaders of all builders share: sizes, keys, and why an input is left out."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rba.errors import InputError
from rba.geometry import resize


class DroppedError(Exception):
    """One input is left out; the message is the reason it is counted under."""


def require_limits(config: Mapping[str, Any], **least: int) -> None:
    """Refuse numbers of a builder's configuration that are below their least value.

    Raises:
        InputError: Naming the number, or a JPEG quality beyond 100.
    """
    for name, low in {"quality": 1, "samples_per_shard": 1, "longest_side": 16, **least}.items():
        if config[name] < low:
            raise InputError(f"{name}={config[name]}; give at least {low}")
    if config["quality"] > 100:
        raise InputError(f"quality={config['quality']}; give 1 to 100")


def sample_key(number: int, name: str) -> str:
    """Return a key that is unique by its number and still tells the source: ``000012_old-cup``."""
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
    return f"{number:06d}_{readable[:40].strip('-')}".rstrip("_")


def bound_size(
    image: np.ndarray, mask: np.ndarray | None, longest: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Shrink a picture and its mask so that the longest side is at most ``longest`` pixels.

    Raises:
        DroppedError: If the mask has another size than the picture, or is empty.
    """
    height, width = bounded(image.shape[0], image.shape[1], longest)
    if mask is not None:
        mask = fit_mask(mask, image.shape[:2], (height, width))
    return image if image.shape[:2] == (height, width) else resize(image, height, width), mask


def bounded(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the size of a picture that is shrunk to a longest side, in pixels."""
    if max(height, width) <= longest:
        return height, width
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit_mask(mask: np.ndarray, picture: tuple[int, ...], wanted: tuple[int, int]) -> np.ndarray:
    """Shrink the HxW bool mask of a picture of height x width to the wanted height x width.

    Raises:
        DroppedError: If the mask has another size than the picture, or is empty.
    """
    if mask.shape != picture:
        raise DroppedError("mask of another size")
    if mask.shape != wanted:
        share = cv2.resize(mask.astype(np.float32), wanted[::-1], interpolation=cv2.INTER_AREA)
        mask = share >= 0.5
    if not mask.any():
        raise DroppedError("empty object mask")
    return mask


def is_picture(path: str | Path, suffixes: frozenset[str]) -> bool:
    """Return whether a file is a picture of its own, not the mask or truth of another."""
    name = os.path.basename(path).lower()
    if name.startswith(".") or name.endswith((".mask.png", ".correspondence.png")):
        return False
    return os.path.splitext(name)[1] in suffixes
