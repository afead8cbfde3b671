"""Contrastive losses: `loss(pos, neg) -> scalar` over similarities.

`pos` (N,) holds each query's similarity to its positive, `neg` (N, K) to its negatives; an entry of
-inf is not a negative. Losses compute in float32 or better, whatever precision they are handed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_zoo.distributed import global_mean
from ssl_zoo.types import UserError


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class InfoNCE(nn.Module):
    """Cross entropy of the positive among positive and negatives; NT-Xent when they are in-batch.

    Args:
        temperature: Divides the similarities; tau in the papers.

    Raises:
        UserError: If the temperature is not above 0.

    Source: van den Oord et al. 2018, eq. 4; He et al. 2020 (MoCo), eq. 1; Chen et al. 2020
    (SimCLR), eq. 1.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise UserError(f"method.temperature={temperature} must be above 0")
        self.temperature = temperature

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the queries of all ranks.

        Args:
            pos: (N,) similarities to the positive.
            neg: (N, K) similarities to the negatives, -inf where there is none.
        """
        logits = torch.cat([pos[:, None], neg], dim=1)
        logits = _at_least_float32(logits) / self.temperature
        total = (logits.logsumexp(dim=1) - logits[:, 0]).sum()
        return global_mean(total, len(pos))
