"""The correspondence map of Algorithm 1: where the reference is that the artifact looks at."""

import torch
from torch import Tensor

from rba.geometry import mask_to_queries, tokens_to_grid


def artifact_queries(artifact_mask: Tensor, num_queries: int) -> Tensor:
    """Return the indices of a layer's queries that some mask of the batch touches.

    Args:
        artifact_mask: [B, 1, H, W] bool or float in [0, 1].
        num_queries: Q, a square.

    Returns:
        int64, ascending.
    """
    weights = _query_weights(artifact_mask, num_queries)
    return (weights > 0).any(dim=0).nonzero().flatten()


def correspondence_map(
    probabilities: Tensor, artifact_mask: Tensor, *, num_queries: int | None = None
) -> Tensor:
    """Sum the attention of the artifact's queries over the reference's tokens ([0] step 7).

    ``M[k] = sum_ij M_a[i, j] A[i, j, k] / sum_ij M_a[i, j]``. The division by the mask's sum is
    ours: it makes every map sum to 1, so that maps of other layers, steps and masks can be
    averaged; post-processing and arg max do not see it.

    Args:
        probabilities: [B, Q, N] float, rows sum to 1; Q and N are squares, row-major grids.
        artifact_mask: [B, 1, H, W] bool or float in [0, 1], not empty. It is resized to the
            layer's grid by area, so a thin mask keeps its weight.
        num_queries: Q, where ``probabilities`` holds only the rows of `artifact_queries`; None =
            it holds all.

    Returns:
        [B, n, n] float32 with n * n = N; each map sums to 1.

    Raises:
        ValueError: If Q or N is not a square, the batches differ or a mask is empty.

    [0] Refine-by-Align, Algorithm 1.
    """
    if artifact_mask.shape[0] != probabilities.shape[0]:
        raise ValueError(
            f"{artifact_mask.shape[0]} masks for {probabilities.shape[0]} attention maps"
        )
    weights = _query_weights(artifact_mask, num_queries or probabilities.shape[1])
    total = weights.sum(dim=1, keepdim=True)
    if not bool((total > 0).all()):
        raise ValueError("an artifact mask is empty")
    if num_queries is not None:
        weights = weights[:, artifact_queries(artifact_mask, num_queries)]
    weights = (weights / total).to(probabilities.device)
    return tokens_to_grid(torch.einsum("bq,bqn->bn", weights, probabilities.float()))


def _query_weights(artifact_mask: Tensor, num_queries: int) -> Tensor:
    """Return the share of each query's cell that the mask covers: [B, Q]."""
    side = round(num_queries**0.5)
    if side * side != num_queries:
        raise ValueError(f"{num_queries} queries do not form a square; the image must be square")
    return mask_to_queries(artifact_mask, side).flatten(1)
