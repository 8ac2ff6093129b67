"""Boxes, square crops, paste-back, and masks on the pixel, latent, query and token grids.

Numpy images are HxWxC (or HxW), torch tensors BxCxHxW. A pixel ``(x, y)`` has its centre at
``(x + 0.5, y + 0.5)``; a box is half-open.
"""

import dataclasses

import cv2
import numpy as np
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Box:
    """A half-open pixel box ``[x0, x1) x [y0, y1)``; it may reach outside an image."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.y1 - self.y0

    def grown(self, margin: int) -> "Box":
        """Return the box grown by ``margin`` pixels on every side."""
        return Box(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)


def mask_box(mask: np.ndarray) -> Box:
    """Return the tight box of a non-empty HxW mask.

    Raises:
        ValueError: If no pixel of the mask is set.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError(f"the mask of {mask.shape[1]}x{mask.shape[0]} pixels is empty")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def square_around(box: Box, height: int, width: int, side: int) -> Box:
    """Return a square of about ``side`` pixels around a box, moved inside the image where it fits.

    Args:
        box: What the square is centred on.
        height: Image height in pixels.
        width: Image width in pixels.
        side: Wanted side in pixels; raised to the longest side of ``box``.

    Returns:
        A square that holds ``box``. Along an axis where the image is smaller than the square, the
        square is centred on the image and reaches outside (`crop` pads).
    """
    side = max(side, box.width, box.height)

    def start(low: int, high: int, length: int) -> int:
        if side >= length:
            return (length - side) // 2
        return min(max((low + high - side) // 2, 0), length - side)

    x0, y0 = start(box.x0, box.x1, width), start(box.y0, box.y1, height)
    return Box(x0, y0, x0 + side, y0 + side)


def crop(image: np.ndarray, box: Box, *, fill: int | None = None) -> np.ndarray:
    """Cut a box out of an image; outside the image edge pixels repeat, or ``fill`` where given.

    Args:
        image: HxW or HxWxC.
        box: Must meet the image.
        fill: Value outside the image; None repeats the edge.

    Returns:
        A copy of ``box.height`` x ``box.width``.

    Raises:
        ValueError: If the box lies wholly outside the image.
    """
    height, width = image.shape[:2]
    seen = _inside(box, height, width)
    left, top = seen.x0 - box.x0, seen.y0 - box.y0
    right, bottom = box.x1 - seen.x1, box.y1 - seen.y1
    inner = image[seen.y0 : seen.y1, seen.x0 : seen.x1]
    if not (left or top or right or bottom):
        return inner.copy()
    padding = [(top, bottom), (left, right)] + [(0, 0)] * (image.ndim - 2)
    if fill is None:
        return np.pad(inner, padding, mode="edge")
    return np.pad(inner, padding, constant_values=fill)


def paste(image: np.ndarray, patch: np.ndarray, box: Box) -> np.ndarray:
    """Return a copy of ``image`` with ``patch`` (the size of ``box``) written over the box.

    The inverse of `crop`: ``paste(image, crop(image, box), box)`` equals ``image``.

    Raises:
        ValueError: If the box lies wholly outside the image.
    """
    seen = _inside(box, *image.shape[:2])
    rows = slice(seen.y0 - box.y0, seen.y1 - box.y0)
    columns = slice(seen.x0 - box.x0, seen.x1 - box.x0)
    result = image.copy()
    result[seen.y0 : seen.y1, seen.x0 : seen.x1] = patch[rows, columns]
    return result


def _inside(box: Box, height: int, width: int) -> Box:
    """Return the part of a box that lies in the image, which must not be empty."""
    seen = Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, width), min(box.y1, height))
    if seen.width <= 0 or seen.height <= 0:
        raise ValueError(f"{box} lies outside the image of {width}x{height} pixels")
    return seen


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an HxW or HxWxC image: by area when it shrinks, cubic when it grows."""
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an HxW bool mask so that a touched target pixel counts: thin strokes survive.

    Returns:
        height x width bool; never empty where ``mask`` is not.
    """
    if mask.shape == (height, width):
        return mask.copy()
    # Each axis by itself: OpenCV averages areas only where both shrink.
    smaller = (min(width, mask.shape[1]), min(height, mask.shape[0]))
    touched = cv2.resize(mask.astype(np.float32), smaller, interpolation=cv2.INTER_AREA) > 0
    return cells_to_pixels(touched, height, width)


def feather(mask: np.ndarray, dilation: int, radius: int) -> np.ndarray:
    """Return paste-back weights: 1 on the mask, falling to 0 within ``dilation + radius`` pixels.

    Args:
        mask: HxW bool.
        dilation: Pixels around the mask that keep weight 1.
        radius: Width in pixels of the linear fall beyond that.

    Returns:
        HxW float32 in [0, 1], exactly 1 on the mask, exactly 0 further away than
        ``dilation + radius`` pixels (Euclidean).
    """
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weights = 1.0 - (distance - dilation) / (radius + 1.0)
    weights[distance >= dilation + radius + 1e-3] = 0.0
    return np.clip(weights, 0.0, 1.0).astype(np.float32)


def mask_to_latent(mask: Tensor, factor: int) -> Tensor:
    """Max-pool a [B, 1, H, W] mask to the latent grid: a touched cell counts.

    Nearest resizing (as in diffusers' inpainting pipeline) loses thin masks, which are the paper's
    main case. ``factor`` is the autoencoder's pixels a latent cell.
    """
    return functional.max_pool2d(mask.float(), factor)


def mask_to_queries(mask: Tensor, side: int) -> Tensor:
    """Resize a [B, 1, H, W] mask by area to a layer's grid of side x side queries (Algorithm 1).

    Returns:
        [B, side, side] float in [0, 1]: the share of each cell that the mask covers. A mask that is
        not empty keeps at least one non-zero query.
    """
    return functional.adaptive_avg_pool2d(mask.float(), (side, side)).squeeze(1)


def cells_to_pixels(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Blow a d x d grid of tokens up to height x width pixels (each cell its rectangle).

    A pixel belongs to the cell that holds its centre.
    """
    rows = (2 * np.arange(height) + 1) * cells.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * cells.shape[1] // (2 * width)
    return cells[np.ix_(rows, columns)]


def project(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map [..., 2] points (x, y) through a 3x3 homography."""
    flat = np.asarray(points, np.float64).reshape(-1, 1, 2)
    if flat.size == 0:
        return flat.reshape(np.shape(points))
    return cv2.perspectiveTransform(flat, matrix).reshape(np.shape(points))


def tokens_to_grid(values: Tensor) -> Tensor:
    """Reshape [..., N] values of N = n * n row-major tokens to [..., n, n].

    Raises:
        ValueError: If N is not a square.
    """
    side = round(values.shape[-1] ** 0.5)
    if side * side != values.shape[-1]:
        raise ValueError(f"{values.shape[-1]} tokens do not form a square grid")
    return values.reshape(*values.shape[:-1], side, side)
