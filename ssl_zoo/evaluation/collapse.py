"""How much embeddings have collapsed, measured without labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_zoo.hardware import at_least_float32


@torch.no_grad()
def embedding_std(z: Tensor) -> Tensor:
    """Spread of L2-normalised embeddings: 1 = spread over the sphere, 0 = collapsed to a point.

    The std of each channel over the batch (divided by N, not N - 1), averaged over channels,
    times sqrt(D). The largest value, sqrt(D) / sqrt(D), needs zero mean and equal variances.

    Args:
        z: (N, D), any float type; normalised here.

    Returns:
        Scalar in [0, 1], float32 or wider; NaN if z holds NaN.

    Source: Chen & He 2021 (SimSiam), sec. 4.1.
    """
    unit = normalize(at_least_float32(z), dim=1)
    return unit.std(dim=0, correction=0).mean() * math.sqrt(z.shape[1])


@torch.no_grad()
def effective_rank(z: Tensor) -> Tensor:
    """RankMe, the number of directions that embeddings use: from 1 to min(N, D).

    exp of the entropy of p = s / sum(s) + 1e-7, with s the singular values of z, not centred.

    Args:
        z: (N, D), any float type.

    Returns:
        Scalar, float32 or wider; 1 for all zeros, NaN if z is not finite.

    Source: Garrido et al. 2023 (RankMe).
    """
    z = at_least_float32(z)
    if not z.isfinite().all():  # the SVD would raise
        return z.new_full((), torch.nan)
    singular: Tensor = torch.linalg.svdvals(z)
    p = singular / singular.sum().clamp_min(torch.finfo(z.dtype).tiny) + 1e-7
    return (-p * p.log()).sum().exp()
