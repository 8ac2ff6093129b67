"""Matches from an exact correspondence picture, as a renderer knows it from the geometry."""

from pathlib import Path

import cv2
import numpy as np

from rba.errors import InputError

GRID_STRIDE = 8  # pixels of the stored target between two nodes of the match grid
_FULL = 65535.0


def read_correspondence(path: str | Path) -> np.ndarray:
    """Read a correspondence picture: 16-bit RGB over view A, red = u, green = v, blue = valid.

    Returns:
        [H, W, 2] float32: where each pixel lies in view B, as fractions of its width and height;
        NaN where it is not seen there.

    Raises:
        InputError: If the file is not a 16-bit picture of three channels.
    """
    try:
        data = np.fromfile(str(path), np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:  # a size that no picture has
        picture = None
    if picture is None or picture.dtype != np.uint16 or picture.ndim != 3:
        raise InputError(f"{path} is not a 16-bit RGB picture of correspondences")
    fractions = picture[..., [2, 1]].astype(np.float32) / _FULL  # OpenCV reads blue first
    fractions[picture[..., 0] == 0] = np.nan
    return fractions


def exact_matches(correspondence: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sample a correspondence at the nodes of the match grid.

    Args:
        correspondence: [H, W, 2] of `read_correspondence`, at view A's own size.
        height: Height of the stored target; it may be smaller than H.
        width: Width of the stored target.

    Returns:
        float16 [ceil(height/8), ceil(width/8), 3]: x and y as fractions, confidence 1; NaN where
        there is no match or the node lies outside the target.
    """
    full_height, full_width = correspondence.shape[:2]
    rows, row_inside = _nodes(height, full_height)
    columns, column_inside = _nodes(width, full_width)
    matches = np.ones((len(rows), len(columns), 3), np.float32)
    matches[..., :2] = correspondence[np.ix_(rows, columns)]
    missing = np.isnan(matches[..., 0]) | ~np.outer(row_inside, column_inside)
    matches[missing] = np.nan
    return matches.astype(np.float16)


def read_exact(path: str | Path, height: int, width: int) -> np.ndarray:
    """Read the match grid of a height x width target from its correspondence picture.

    Raises:
        InputError: If the file is none.
    """
    return exact_matches(read_correspondence(path), height, width)


def node_positions(length: int) -> np.ndarray:
    """Return the middles of the grid's nodes along an axis of ``length`` pixels, in pixels."""
    return np.arange(-(-length // GRID_STRIDE)) * GRID_STRIDE + GRID_STRIDE / 2 + 0.5


def _nodes(length: int, full_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the full-size pixel of each node, and which nodes lie within the stored target."""
    middles = node_positions(length)
    pixels = np.floor(middles * (full_length / length)).astype(int)
    return np.clip(pixels, 0, full_length - 1), middles < length
