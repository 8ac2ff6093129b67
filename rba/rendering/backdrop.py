"""What lies behind an object: a studio, a photograph out of focus, a photograph, a table."""

from collections.abc import Sequence

import cv2
import numpy as np

from rba.rendering.textures import crop_photo
from rba.rendering.view import draw_background

BACKDROPS = ("studio", "blurred", "photo", "table")


def draw_backdrop(
    kind: str, photos: Sequence[np.ndarray], rng: np.random.Generator, size: int
) -> np.ndarray:
    """Draw a backdrop.

    Args:
        kind: ``studio`` (near white or grey, a soft gradient), ``blurred``, ``photo`` (in focus),
            or ``table`` (a surface that runs to a wall out of focus).
        photos: hxwx3 uint8 to choose from, at least one.
        rng: Source of all randomness.
        size: Side in pixels.

    Returns:
        size x size x 3 float32 in [0, 255].

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "studio":
        return _studio(rng, size)
    photo = photos[int(rng.integers(len(photos)))]
    if kind == "blurred":
        return draw_background(photo, rng, size)
    if kind == "photo":
        return _photo(photo, rng, size)
    if kind == "table":
        return _table(photo, photos[int(rng.integers(len(photos)))], rng, size)
    raise ValueError(f"unknown backdrop {kind!r}; known are {', '.join(BACKDROPS)}")


def _studio(rng: np.random.Generator, size: int) -> np.ndarray:
    level = rng.uniform(150, 245)
    light = level + rng.uniform(-6, 6, 3)
    dark = light * rng.uniform(0.8, 0.95)
    down = np.linspace(0.0, 1.0, size)[:, None, None] ** 1.5
    rows = (1 - down) * light + down * dark
    return np.ascontiguousarray(np.broadcast_to(rows, (size, size, 3)), np.float32)


def _photo(photo: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    part = crop_photo(photo, rng, size).astype(np.float32)
    tone = rng.uniform(0.8, 1.1) * (1.0 + rng.uniform(-0.08, 0.08, 3))
    return np.clip(part * tone.astype(np.float32), 0.0, 255.0)


def _table(wall: np.ndarray, top: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """A photograph laid in perspective below a horizon, darker with distance, before a wall."""
    scene = draw_background(wall, rng, size)
    horizon = float(rng.uniform(0.3, 0.45)) * size
    cloth = cv2.GaussianBlur(crop_photo(top, rng, 2 * size), (0, 0), 1.5).astype(np.float32)
    overhang = float(rng.uniform(0.25, 0.6)) * size
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * 2 * size
    seen = np.array(
        [[0, horizon], [size, horizon], [size + overhang, size], [-overhang, size]], np.float32
    )
    matrix = cv2.getPerspectiveTransform(corners, seen)
    laid = cv2.warpPerspective(
        cloth, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    rows = np.arange(size, dtype=np.float32) + 0.5
    share = np.clip(rows - horizon + 0.5, 0.0, 1.0)[:, None, None]
    nearness = np.clip((rows - horizon) / (size - horizon), 0.0, 1.0)[:, None, None]
    tone = float(rng.uniform(0.75, 1.0)) * (0.7 + 0.3 * nearness)
    return np.ascontiguousarray((1 - share) * scene + share * laid * tone, np.float32)
