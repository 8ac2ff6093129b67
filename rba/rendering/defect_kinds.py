"""Kinds of damage to the texture: each makes a wrong part of the right one.

All take the part to damage [h, w, 3] uint8, the picture that it is of, and a generator, and return
the damaged part.
"""

import cv2
import numpy as np


def warp(part: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pull the texture along a random smooth field, by up to a third of the part's size."""
    del image
    height, width = part.shape[:2]
    reach = 0.16 * max(height, width)
    field = rng.standard_normal((5, 5, 2)).astype(np.float32)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) * reach
    return displaced(part, field)


def smear(part: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Drag the texture along a direction: a long box filter, bent a little."""
    del image
    height, width = part.shape[:2]
    angle, reach = rng.uniform(0, np.pi), rng.uniform(0.3, 0.6) * max(height, width)
    bend = cv2.resize(rng.standard_normal((3, 3)).astype(np.float32), (width, height))
    directions = np.stack([np.cos(angle + 0.4 * bend), np.sin(angle + 0.4 * bend)], axis=-1)
    total = np.zeros(part.shape, np.float32)
    steps = np.linspace(-0.5, 0.5, 9)
    for step in steps:
        total += displaced(part, (reach * step * directions).astype(np.float32))
    return np.rint(total / len(steps)).astype(np.uint8)


def displace(part: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show content from elsewhere in the image, turned or mirrored."""
    height, width = part.shape[:2]
    side = max(height, width)
    source = image
    if min(source.shape[:2]) < side:
        border = side // 2 + 1
        source = np.pad(source, ((border, border), (border, border), (0, 0)), mode="symmetric")
    top = int(rng.integers(0, max(source.shape[0] - side, 0) + 1))
    left = int(rng.integers(0, max(source.shape[1] - side, 0) + 1))
    content = source[top : top + side, left : left + side]
    content = np.rot90(content, int(rng.integers(4)))
    if rng.random() < 0.5:
        content = content[:, ::-1]
    if content.shape[0] < height or content.shape[1] < width:
        return cv2.resize(np.ascontiguousarray(content), (width, height))
    return np.ascontiguousarray(content[:height, :width])


def shuffle(part: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Swap tiles with each other, each turned upside down or mirrored: glyphs of no alphabet."""
    del image
    height, width = part.shape[:2]
    count = int(rng.integers(2, 5))
    rows, columns = max(height // count, 1), max(width // count, 1)
    tops, lefts = range(0, height - rows + 1, rows), range(0, width - columns + 1, columns)
    places = [(top, left) for top in tops for left in lefts]
    result = part.copy()
    for (top, left), index in zip(places, rng.permutation(len(places)), strict=True):
        from_top, from_left = places[int(index)]
        tile = part[from_top : from_top + rows, from_left : from_left + columns]
        flips = int(rng.integers(1, 4))
        tile = tile[::-1] if flips & 1 else tile
        tile = tile[:, ::-1] if flips & 2 else tile
        result[top : top + rows, left : left + columns] = tile
    return result


def scribble(part: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw glyph-like strokes in the part's own colours over a blur of it."""
    del image
    height, width = part.shape[:2]
    side = max(height, width)
    result = cv2.blur(part, (side // 4 | 1, side // 4 | 1))
    pixels = part.reshape(-1, 3)
    bright = pixels.sum(axis=1, dtype=np.int32)
    extremes = (pixels[int(np.argmin(bright))], pixels[int(np.argmax(bright))])
    for number in range(int(rng.integers(6, 12))):
        colour = tuple(int(value) for value in extremes[number % 2])
        points = rng.integers(0, side, (int(rng.integers(3, 6)), 2)).astype(np.int32)
        thickness = max(round(side * rng.uniform(0.03, 0.07)), 1)
        cv2.polylines(result, [points], False, colour, thickness, cv2.LINE_AA)
    return result


def displaced(part: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Sample a part at its pixels plus a field [h, w, 2] of pixels."""
    height, width = part.shape[:2]
    x = field[..., 0] + np.arange(width, dtype=np.float32)[None, :]
    y = field[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
