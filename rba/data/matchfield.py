"""Read a record's match grid as a field: from points of the target to points of the reference."""

import cv2
import numpy as np

from rba.data.sample import MATCH_STRIDE
from rba.data.warp import inside_frame
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
        nodes = np.where(self.valid[..., None], grid[..., :2] * (width, height), np.nan)
        self._nodes = _extrapolated(np.pad(nodes, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan))
        self._torn = _torn_cells(self._nodes)

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
        rows, columns = self._nodes.shape[:2]
        nearest = np.rint(node).astype(int)
        nearest_x = np.clip(nearest[:, 0], 1, columns - 2)
        nearest_y = np.clip(nearest[:, 1], 1, rows - 2)
        x0 = np.clip(np.floor(node[:, 0]).astype(int), 0, columns - 2)
        y0 = np.clip(np.floor(node[:, 1]).astype(int), 0, rows - 2)
        fx, fy = (node[:, 0] - x0)[:, None], (node[:, 1] - y0)[:, None]
        upper = self._nodes[y0, x0] * (1 - fx) + self._nodes[y0, x0 + 1] * fx
        lower = self._nodes[y0 + 1, x0] * (1 - fx) + self._nodes[y0 + 1, x0 + 1] * fx
        result = upper * (1 - fy) + lower * fy
        lone = self._torn[y0, x0] | ~np.isfinite(result[:, 0])
        result[lone] = self._nodes[nearest_y, nearest_x][lone]
        result[~self.valid[nearest_y - 1, nearest_x - 1]] = np.nan
        return result


def _extrapolated(nodes: np.ndarray) -> np.ndarray:
    """Fill each empty node from two nodes in line with it, along an axis where there are such.

    One pair, not a mean over pairs: two pairs may lie on two surfaces.
    """
    padded = np.pad(nodes, ((2, 2), (2, 2), (0, 0)), constant_values=np.nan)
    rows, columns = nodes.shape[:2]
    filled = nodes.copy()
    for i, j in _DIRECTIONS:
        near = padded[2 + i : 2 + i + rows, 2 + j : 2 + j + columns]
        far = padded[2 + 2 * i : 2 + 2 * i + rows, 2 + 2 * j : 2 + 2 * j + columns]
        filled = np.where(np.isfinite(filled[..., :1]), filled, 2.0 * near - far)
    return filled


def _torn_cells(nodes: np.ndarray) -> np.ndarray:
    """Return the cells whose corners lie too far apart to be on one surface."""
    corners = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]])
    known = np.isfinite(corners[..., 0].sum(axis=0))
    spread = np.full(known.shape, 0.0)
    spread[known] = np.ptp(corners[:, known], axis=0).max(axis=1)
    if not known.any():
        return np.zeros_like(known)
    return spread > _TEAR * max(float(np.median(spread[known])), 1e-6)


def lattice_points(mask: np.ndarray, split: int) -> np.ndarray:
    """Return points that cover a mask's pixels evenly, ``split`` x ``split`` in each.

    Returns:
        [N * split * split, 2] (x, y), pixel centres at i + 0.5.
    """
    rows, columns = np.nonzero(mask)
    offsets = (np.arange(split) + 0.5) / split
    dy, dx = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    x = columns[:, None] + dx
    y = rows[:, None] + dy
    return np.stack([x.ravel(), y.ravel()], axis=1)


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
