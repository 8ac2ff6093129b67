"""What a surface shows beneath its prints: a part of a photograph, or a mosaic."""

import cv2
import numpy as np

from rba.rendering.colours import strong_colours

# Tiles along the side of a square mosaic, both ends drawn.
_TILES = (4, 9)


def draw_ground(
    photo: np.ndarray, rng: np.random.Generator, width: int, height: int, mosaic_share: float
) -> np.ndarray:
    """Draw a ground of height x width x 3 uint8, a mosaic with the probability ``mosaic_share``."""
    if mosaic_share > 0 and rng.random() < mosaic_share:
        return _mosaic(rng, width, height)
    return _photo_base(photo, rng, width, height)


def _mosaic(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Tiles of random strong colours, about square: a wide surface has more columns."""
    along = int(rng.integers(_TILES[0], _TILES[1] + 1))
    stretch = np.sqrt(width / height)
    columns, rows = max(round(along * stretch), 2), max(round(along / stretch), 2)
    colours = np.array(strong_colours(rng, rows * columns), np.uint8)
    # The list alternates in brightness; shuffled, no tile tells the next.
    tiles = colours[rng.permutation(len(colours))].reshape(rows, columns, 3)
    return cv2.resize(tiles, (width, height), interpolation=cv2.INTER_NEAREST)


def _photo_base(photo: np.ndarray, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    rows, columns = photo.shape[:2]
    scale = min(rows / height, columns / width) * rng.uniform(0.55, 1.0)
    h, w = max(round(scale * height), 1), max(round(scale * width), 1)
    top, left = rng.integers(0, rows - h + 1), rng.integers(0, columns - w + 1)
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    part = photo[top : top + h, left : left + w]
    canvas = cv2.resize(part, (width, height), interpolation=method)
    grey = bool((part[::7, ::7, 0] == part[::7, ::7, 1]).all())
    return _duotone(canvas, rng) if grey else canvas


def _duotone(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour a grey picture between two colours, the darker one for its shadows."""
    ends = sorted(strong_colours(rng, 2), key=sum)
    ramp = np.linspace(0.0, 1.0, 256)[:, None]
    table = np.rint((1 - ramp) * np.array(ends[0]) + ramp * np.array(ends[1])).astype(np.uint8)
    return np.ascontiguousarray(table[canvas[..., 0]])
