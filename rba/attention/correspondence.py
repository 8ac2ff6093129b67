"""The correspondence map of Algorithm 1: where the reference is that the artifact looks at."""

import torch
from torch import Tensor

from rba.geometry import mask_to_queries, tokens_to_grid


class ArtifactQueries:
    """Which queries of a layer an artifact touches, and each one's share of it.

    Layers with equally many queries share one grid, which is computed once: it asks the device for
    numbers.

    Args:
        artifact_mask: [B, 1, H, W] bool or float in [0, 1], none of them empty. It is resized to a
            layer's grid by area, so a thin mask keeps its weight.
    """

    def __init__(self, artifact_mask: Tensor) -> None:
        self._mask = artifact_mask
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, num_queries: int) -> tuple[Tensor, Tensor]:
        """Return what a layer of Q queries, a square row-major grid, has of the artifact.

        Returns:
            [K] int64, ascending: the queries that some mask of the batch touches; [B, K] float32:
            ``M_a[i, j] / sum_ij M_a[i, j]`` at them.

        Raises:
            ValueError: If Q is not a square or a mask is empty.
        """
        if num_queries not in self._known:
            self._known[num_queries] = self._on_grid(num_queries)
        return self._known[num_queries]

    def _on_grid(self, num_queries: int) -> tuple[Tensor, Tensor]:
        side = round(num_queries**0.5)
        if side * side != num_queries:
            raise ValueError(
                f"{num_queries} queries do not form a square; the image must be square"
            )
        weights = mask_to_queries(self._mask, side).flatten(1)
        total = weights.sum(dim=1, keepdim=True)
        if not bool((total > 0).all()):
            raise ValueError("an artifact mask is empty")
        rows = (weights > 0).any(dim=0).nonzero().flatten()
        return rows, (weights / total)[:, rows]


def correspondence_map(probabilities: Tensor, shares: Tensor) -> Tensor:
    """Sum the attention of the artifact's queries over the reference's tokens ([0] step 7).

    ``M[k] = sum_ij M_a[i, j] A[i, j, k] / sum_ij M_a[i, j]``. The division by the mask's sum is
    ours: it makes every map sum to 1, so that maps of other layers, steps and masks can be
    averaged; post-processing and arg max do not see it.

    Args:
        probabilities: [B, K, N] float, rows sum to 1, of the K queries that count; N is a square, a
            row-major grid.
        shares: [B, K], what `ArtifactQueries` gives for them.

    Returns:
        [B, n, n] float32 with n * n = N; each map sums to 1.

    Raises:
        ValueError: If N is not a square or the batches differ.

    [0] Refine-by-Align, Algorithm 1.
    """
    if shares.shape[0] != probabilities.shape[0]:
        raise ValueError(f"{shares.shape[0]} masks for {probabilities.shape[0]} attention maps")
    weights = shares.to(probabilities.device)[:, None]  # [B, 1, K]
    with torch.autocast(weights.device.type, enabled=False):  # a training validates under one
        return tokens_to_grid((weights @ probabilities.float())[:, 0])
