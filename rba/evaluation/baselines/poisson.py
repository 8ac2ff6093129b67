"""Poisson blending (Perez, Gangnet, Blake 2003): a patch's gradients, the surroundings' colours.

OpenCV's `seamlessClone` erodes the mask by 3 pixels, so that thin defects stay, lets the defect's
own colours in at the border, and changes pixels outside. This solves the paper's equations on the
mask exactly.
"""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

_SHIFTS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def poisson_blend(
    image: np.ndarray, patch: np.ndarray, covered: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Fill a mask with a patch's gradients so that it meets the image at the mask's border.

    Equation 7 of the paper. Where the patch shows nothing the gradient is 0: the colours around
    spread into it. At the picture's edge nothing is held.

    Args:
        image: HxWx3 uint8.
        patch: HxWx3 float, in grey levels.
        covered: HxW bool, where the patch shows something.
        mask: HxW bool, not empty.

    Returns:
        HxWx3 uint8, bit-equal to ``image`` outside the mask. A mask that covers everything leaves
        no colours to meet: it gets the patch as it is.
    """
    result = image.copy()
    if mask.all():
        result[covered] = _to_bytes(patch[covered])
        return result
    numbers = np.full(mask.shape, -1)
    rows, columns = np.nonzero(mask)
    numbers[rows, columns] = np.arange(len(rows))
    diagonal = np.zeros(len(rows))
    right = np.zeros((len(rows), 3))
    links: list[tuple[np.ndarray, np.ndarray]] = []
    for dy, dx in _SHIFTS:
        y, x = rows + dy, columns + dx
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        own, y, x = np.flatnonzero(inside), y[inside], x[inside]
        diagonal[own] += 1.0
        here = (rows[own], columns[own])
        shown = (covered[here] & covered[y, x])[:, None]
        right[own] += np.where(shown, patch[here] - patch[y, x], 0.0)
        known = ~mask[y, x]
        right[own[known]] += image[y[known], x[known]]
        links.append((own[~known], numbers[y[~known], x[~known]]))
    first, second = (np.concatenate(part) for part in zip(*links, strict=True))
    matrix: Any = sparse.diags_array(diagonal) - sparse.coo_array(
        (np.ones(len(first)), (first, second)), shape=(len(rows), len(rows))
    )
    result[rows, columns] = _to_bytes(splu(matrix.tocsc()).solve(right))
    return result


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
