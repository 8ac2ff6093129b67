"""Matches between two views by DINOv2's patch tokens: mutual nearest, refined below a token."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rba.matching.consistency import ConsistencySettings, check_grid
from rba.matching.dense import DenseSettings, empty_grid, fill_grid
from rba.matching.local_maps import verified
from rba.matching.view_area import ViewArea

# Turns an HxWx3 uint8 view into [h, w, C] tokens of patches that cover it evenly.
Tokens = Callable[[np.ndarray], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """Limits of the matcher.

    Attributes:
        similarity: Least cosine of two tokens that match, -1 to 1.
        neighbours: Matches that are asked whether they agree with one.
        least: So many of them must.
        tolerance: Tokens by which they may miss the map.
        consistency: What is a contradiction. Tokens are coarse: its tolerance is raised to a
            token's side.
    """

    similarity: float = 0.4
    neighbours: int = 10
    least: int = 5
    tolerance: float = 0.75
    consistency: ConsistencySettings = dataclasses.field(default_factory=ConsistencySettings)


@dataclasses.dataclass(frozen=True)
class TokenMatcher:
    """Match views by their tokens; picklable where ``tokens`` is.

    Attributes:
        tokens: The encoder.
        settings: Limits.
    """

    tokens: Tokens
    settings: TokenSettings = dataclasses.field(default_factory=TokenSettings)

    def __call__(
        self,
        target: np.ndarray,
        target_mask: np.ndarray | None,
        reference: np.ndarray,
        reference_mask: np.ndarray | None,
    ) -> tuple[np.ndarray, str | None]:
        """Match two views.

        Args:
            target: HxWx3 uint8 RGB.
            target_mask: HxW bool, the object, or None.
            reference: hxwx3 uint8 RGB.
            reference_mask: hxw bool, the object, or None.

        Returns:
            The grid of `token_matches`, and why the pair is to be left out or None.
        """
        first = ViewArea((target.shape[0], target.shape[1]), target_mask)
        second = ViewArea((reference.shape[0], reference.shape[1]), reference_mask)
        tokens = self.tokens(target), self.tokens(reference)
        return token_matches(*tokens, first, second, self.settings)


def token_matches(
    target_tokens: Tensor,
    reference_tokens: Tensor,
    target: ViewArea,
    reference: ViewArea,
    settings: TokenSettings | None = None,
) -> tuple[np.ndarray, str | None]:
    """Match two views both ways and fill the grid around the tokens that agree with each other.

    Args:
        target_tokens: [h, w, C] float, of patches that cover the target evenly.
        reference_tokens: [h', w', C] float, of the reference.
        target: Size and object of the target as it is stored.
        reference: Size and object of the reference.
        settings: Limits.

    Returns:
        float16 [ceil(H/8), ceil(W/8), 3] over the target: x and y as fractions of the reference's
        width and height, confidence in (0, 1]; NaN = no match. And why the pair is to be left out:
        its matches contradict each other; or None.
    """
    settings = settings or TokenSettings()
    first, second = mutual_tokens(
        target_tokens, reference_tokens, target, reference, settings.similarity
    )
    shapes = target_tokens.shape[:2], reference_tokens.shape[:2]
    sides = [
        max(area.size[i] / shape[i] for i in (0, 1))
        for area, shape in zip((target, reference), shapes, strict=True)
    ]
    grids: list[np.ndarray] = []
    ways = ((first, second, target, reference), (second, first, reference, target))
    for (near, far, here, there), side, other in zip(ways, sides, sides[::-1], strict=True):
        maps = verified(
            near,
            far,
            neighbours=settings.neighbours,
            reach=4.0 * side,
            tolerance=settings.tolerance * other,
            least=settings.least,
        )
        if not len(maps):
            return empty_grid(target.size), None
        token = side / here.unit  # in pixels of 512
        dense = DenseSettings(sure_reach=token, reach=1.5 * token, tolerance=token)
        grids.append(fill_grid(maps, here, there, here.size, dense))
    limits = settings.consistency
    token = max(limits.tolerance, sides[0] / target.unit)
    limits = dataclasses.replace(limits, tolerance=token)
    return check_grid(grids[0], grids[1], target, reference, target.size, limits)


def mutual_tokens(
    target_tokens: Tensor,
    reference_tokens: Tensor,
    target: ViewArea,
    reference: ViewArea,
    similarity: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places [N, 2] on both views of tokens that are each other's nearest.

    Only tokens that lie on the objects by half take part. Places on the reference are refined by
    parabolas through the similarities around the peak, from both sides: a token of the target
    stands for its middle, whether the reference has a token for exactly that place or not.
    """
    views = (target_tokens, target), (reference_tokens, reference)
    on_object = [_token_mask(area, tokens.shape) for tokens, area in views]
    if not all(mask.any() for mask in on_object):
        return np.empty((0, 2)), np.empty((0, 2))
    flat = [functional.normalize(t.flatten(0, 1).float(), dim=1) for t, _ in views]
    table = (flat[0] @ flat[1].T).cpu()
    rows, columns = (torch.from_numpy(mask.ravel()) for mask in on_object)
    allowed = table.masked_fill(~rows[:, None] | ~columns, -2.0)
    best, back = allowed.argmax(dim=1), allowed.argmax(dim=0)
    own = torch.arange(len(table))
    chosen = rows & (back[best] == own) & (allowed[own, best] >= similarity)
    source, goal = own[chosen], best[chosen]
    forth = _peak_offset(table[source], goal, reference_tokens.shape)
    # The target's tokens around the source, seen from the goal: the shift with the other sign.
    offset = 0.5 * (forth - _peak_offset(table.T[goal], source, target_tokens.shape))
    return (
        _middles(source, target_tokens.shape, target),
        _middles(goal, reference_tokens.shape, reference, offset),
    )


def _peak_offset(table: Tensor, peak: Tensor, shape: torch.Size) -> np.ndarray:
    """Return [N, 2] (x, y) in tokens, within half a token, from each row's peak to its top."""
    rows, columns = shape[:2]
    y, x, own = peak // columns, peak % columns, torch.arange(len(peak))
    height = table[own, peak]
    offsets: list[Tensor] = []
    for place, length, step in ((x, columns, 1), (y, rows, columns)):
        inside = (place > 0) & (place < length - 1)
        before = table[own, torch.where(inside, peak - step, peak)]
        after = table[own, torch.where(inside, peak + step, peak)]
        bend = (2.0 * height - before - after).clamp(min=1e-6)
        offsets.append((0.5 * (after - before) / bend).clamp(-0.5, 0.5))
    return torch.stack(offsets, dim=1).double().numpy()


def _middles(
    index: Tensor, shape: torch.Size, area: ViewArea, offset: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return the middles of tokens [N, 2] (x, y), moved by an offset in tokens, in pixels."""
    rows, columns = shape[:2]
    place = torch.stack([index % columns, index // columns], dim=1).double().numpy() + 0.5
    return (place + offset) * (area.size[1] / columns, area.size[0] / rows)


def _token_mask(area: ViewArea, shape: torch.Size) -> np.ndarray:
    """Return [h, w] which tokens lie on the object by half."""
    rows, columns = shape[:2]
    if area.mask is None:
        return np.ones((rows, columns), bool)
    share = cv2.resize(area.mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return share >= 0.5
