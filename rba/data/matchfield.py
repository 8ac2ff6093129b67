"""Read a record's match grid as a field: from points of the target to points of the reference."""

import cv2
import numpy as np

from rba.data.sample import MATCH_STRIDE
from rba.data.warp import inside_frame, mask_points
from rba.geometry import mask_box

_OVERSAMPLING = 2  # pixels of the reference are split so finely when a hole is drawn on them
_MAX_POINTS = 20_000  # of a hole; a larger one is drawn with coarser points
_TEAR = 4.0  # a cell this many times wider than the median spans two surfaces
_DIRECTIONS = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]


class MatchField:
    """The field of one record.

    Between valid nodes it is bilinear. A point belongs to the node that it is nearest to, and has
    no match where that node has none; beyond the outermost valid nodes the field goes on linearly.
    Cells that span two surfaces (an occlusion) are not interpolated.

    Args:
        matches: [h, w, 3] grid as in `RefinementRecord`.
        reference_size: Height and width of the stored reference, pixels.
        min_confidence: Nodes below are left out.
    """

    def __init__(
        self, matches: np.ndarray, reference_size: tuple[int, int], min_confidence: float = 0.0
    ) -> None:
        height, width = reference_size
        grid = matches.astype(np.float64)
        # A sum is finite only if all its parts are; reductions over two values are slow.
        self.valid = np.isfinite(grid[..., 0] + grid[..., 1]) & (grid[..., 2] >= min_confidence)
        # x + iy: one array of numbers is read several times as fast as one of pairs.
        nodes = grid[..., 0] * width + 1j * (grid[..., 1] * height)
        nodes[~self.valid] = complex(np.nan, np.nan)
        self._nodes = _extrapolated(_ringed(nodes, 1))
        self._lone = ~_interpolated(self._nodes)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points of the target.

        Args:
            points: [N, 2] (x, y) in pixels of the stored target, pixel centres at i + 0.5.

        Returns:
            [N, 2] in pixels of the stored reference; NaN where there is no match.
        """
        if not len(points):
            return np.empty((0, 2))
        node = (points - (MATCH_STRIDE / 2 + 0.5)) / MATCH_STRIDE + 1.0  # + 1: the padded ring
        x, y = np.ascontiguousarray(node[:, 0]), np.ascontiguousarray(node[:, 1])
        rows, columns = self._nodes.shape
        x0 = np.clip(np.floor(x).astype(int), 0, columns - 2)
        y0 = np.clip(np.floor(y).astype(int), 0, rows - 2)
        fx, fy, at = x - x0, y - y0, y0 * columns + x0
        flat = self._nodes.ravel()
        upper = flat.take(at) * (1 - fx) + flat.take(at + 1) * fx
        lower = flat.take(at + columns) * (1 - fx) + flat.take(at + columns + 1) * fx
        result = upper * (1 - fy) + lower * fy
        near_x = np.clip(np.rint(x).astype(int), 1, columns - 2)
        near_y = np.clip(np.rint(y).astype(int), 1, rows - 2)
        lone = self._lone.ravel().take(y0 * (columns - 1) + x0)
        result[lone] = flat.take(near_y[lone] * columns + near_x[lone])
        valid = self.valid.ravel().take((near_y - 1) * (columns - 2) + near_x - 1)
        result[~valid] = complex(np.nan, np.nan)
        return result.view(np.float64).reshape(-1, 2)


def _ringed(nodes: np.ndarray, width: int) -> np.ndarray:
    """Surround nodes by empty ones."""
    return np.pad(nodes, width, constant_values=complex(np.nan, np.nan))


def _extrapolated(nodes: np.ndarray) -> np.ndarray:
    """Fill each empty node from two nodes in line with it, along an axis where there are such.

    One pair, not a mean over pairs: two pairs may lie on two surfaces.
    """
    padded = _ringed(nodes, 2)
    rows, columns = nodes.shape
    filled = nodes.copy()
    for i, j in _DIRECTIONS:
        near = padded[2 + i : 2 + i + rows, 2 + j : 2 + j + columns]
        far = padded[2 + 2 * i : 2 + 2 * i + rows, 2 + 2 * j : 2 + 2 * j + columns]
        empty = np.isnan(np.real(filled))
        filled[empty] = 2.0 * near[empty] - far[empty]
    return filled


def _interpolated(nodes: np.ndarray) -> np.ndarray:
    """Return the cells whose corners are known and close enough to be on one surface."""
    corners = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]])
    known = ~np.isnan(corners.sum(axis=0).real)
    kept = corners[:, known]
    spread = np.maximum(np.ptp(np.real(kept), axis=0), np.ptp(np.imag(kept), axis=0))
    result = known.copy()
    if spread.size:
        result[known] = spread <= _TEAR * max(float(np.median(spread)), 1e-6)
    return result


def lattice_points(mask: np.ndarray, split: int) -> np.ndarray:
    """Return points that cover a mask's pixels evenly, ``split`` x ``split`` in each.

    Returns:
        [N * split * split, 2] (x, y), pixel centres at i + 0.5.
    """
    centres = mask_points(mask)
    if split == 1:
        return centres
    offsets = (np.arange(split) + 0.5) / split - 0.5
    grid = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(1, -1, 2)
    return (centres[:, None] + grid).reshape(-1, 2)


def lattice_spacing(mask: np.ndarray, mapped: np.ndarray) -> float:
    """Return how far apart a mask's neighbouring pixels land on the reference, its 0.9 quantile.

    Args:
        mask: HxW bool.
        mapped: [N, 2] where the centres of its N pixels land, in pixels of the reference; NaN where
            they have no match.

    Returns:
        Pixels; 1 where no two neighbours have a match.
    """
    box = mask_box(mask)
    image = np.full((box.height, box.width), np.nan, np.complex128)
    image[mask[box.y0 : box.y1, box.x0 : box.x1]] = mapped[:, 0] + 1j * mapped[:, 1]
    lengths = np.concatenate([np.abs(np.diff(image, axis=axis)).ravel() for axis in (0, 1)])
    lengths = lengths[np.isfinite(lengths)]
    return float(np.quantile(lengths, 0.9)) if lengths.size else 1.0


def lattice_split(num_pixels: int, spacing: float) -> int:
    """Return into how many parts a side a mask's pixels are split to cover the reference."""
    affordable = int(np.sqrt(_MAX_POINTS / max(num_pixels, 1)))
    return max(1, min(int(np.ceil(spacing * _OVERSAMPLING)), affordable))


def splat(points: np.ndarray, side: int, spacing: float) -> np.ndarray:
    """Draw points of the reference as a soft mask, the gaps between them closed.

    Args:
        points: [N, 2] (x, y) in pixels.
        side: Side of the reference in pixels.
        spacing: Distance between neighbouring points, pixels.

    Returns:
        side x side float32 in [0, 1]: the share of each pixel that is covered; where no pixel
        reaches one half, all are scaled so that the largest is 1. All 0 if no point is inside.
    """
    large = side * _OVERSAMPLING
    cells = (points[inside_frame(points, side)] * _OVERSAMPLING).astype(int)
    fine = np.zeros((large, large), np.uint8)
    fine[cells[:, 1], cells[:, 0]] = 1
    reach = int(np.ceil(min(spacing * _OVERSAMPLING, side / 8) * 0.75))  # 0.75: half a diagonal
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    closed = cv2.morphologyEx(fine, cv2.MORPH_CLOSE, kernel)
    soft = cv2.resize(closed.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    peak = float(soft.max())
    return soft / peak if 0.0 < peak < 0.5 else soft
