"""The correspondence map of Algorithm 1: where the reference is that the artifact looks at."""

import torch
from torch import Tensor

from rba.geometry import mask_to_queries, tokens_to_grid


def correspondence_map(probabilities: Tensor, artifact_mask: Tensor) -> Tensor:
    """Sum the attention of the artifact's queries over the reference's tokens ([0] step 7).

    ``M[k] = sum_ij M_a[i, j] A[i, j, k] / sum_ij M_a[i, j]``. The division by the mask's sum is
    ours: it makes every map sum to 1, so that maps of other layers, steps and masks can be
    averaged; post-processing and arg max do not see it.

    Args:
        probabilities: [B, Q, N] float, rows sum to 1; Q and N are squares, row-major grids.
        artifact_mask: [B, 1, H, W] bool or float in [0, 1], not empty. It is resized to the
            layer's grid by area, so a thin mask keeps its weight.

    Returns:
        [B, n, n] float32 with n * n = N; each map sums to 1.

    Raises:
        ValueError: If Q or N is not a square, the batches differ or a mask is empty.

    [0] Refine-by-Align, Algorithm 1.
    """
    batch, queries, _ = probabilities.shape
    side = round(queries**0.5)
    if side * side != queries:
        raise ValueError(f"{queries} queries do not form a square grid; the image must be square")
    if artifact_mask.shape[0] != batch:
        raise ValueError(f"{artifact_mask.shape[0]} masks for {batch} attention maps")
    weights = mask_to_queries(artifact_mask, side).reshape(batch, queries)
    total = weights.sum(dim=1, keepdim=True)
    if not bool((total > 0).all()):
        raise ValueError("an artifact mask is empty")
    weights = (weights / total).to(probabilities.device)
    return tokens_to_grid(torch.einsum("bq,bqn->bn", weights, probabilities.float()))
