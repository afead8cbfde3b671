"""Contrastive losses: `loss(pos, neg) -> scalar` over similarities.

`pos` (N,) holds each query's similarity to its positive, `neg` (N, K) to its negatives; an entry of
-inf is not a negative. Losses compute in float32 or better, whatever the input precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.distributed import global_mean
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses.base import ContrastiveLoss, is_pair
from ssl_zoo.losses.checks import check_temperature
from ssl_zoo.types import BadValue, check_number


class InfoNCE(ContrastiveLoss):
    """Cross entropy of the positive among positive and negatives; NT-Xent when they are in-batch.

    Args:
        temperature: Divides the similarities; tau in the papers.
        decoupled: The positive is left out of the denominator (DCL); the loss may then be negative.
        sigma: A decoupled positive counts 2 - exp(s+ / sigma) / mean exp(s+ / sigma) times, without
            gradient (DCLW); None = once.
        base_temperature: The loss counts temperature / this times; 0.5 is MoCo v3's factor 2 tau.
            None = once.

    Raises:
        UserError: If a temperature or sigma is not above 0, or sigma is given to another form.

    Source: van den Oord et al. 2018, eq. 4; He et al. 2020 (MoCo), eq. 1; Chen et al. 2020
    (SimCLR), eq. 1; Yeh et al. 2022 (DCL), eq. 5 and 6; Chen et al. 2021 (MoCo v3), algorithm 1.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        decoupled: bool = False,
        sigma: float | None = None,
        base_temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        base = temperature if base_temperature is None else base_temperature
        self.scale = temperature / check_temperature(base, "base_temperature")
        if sigma is not None and not decoupled:
            raise BadValue("sigma", sigma, says="is read by decoupled=true only")
        if sigma is not None:
            check_number("sigma", sigma, above=True)
        self.decoupled, self.sigma = decoupled, sigma

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the queries of all ranks.

        Args:
            pos: (N,) similarities to the positive.
            neg: (N, K) similarities to the negatives, -inf where there is none.
        """
        if self.decoupled:
            return self.scale * self._decoupled(at_least_float32(pos), at_least_float32(neg))
        logits = torch.cat([pos[:, None], neg], dim=1)
        logits = at_least_float32(logits) / self.temperature
        total = (logits.logsumexp(dim=1) - logits[:, 0]).sum()
        return self.scale * global_mean(total, len(pos))

    def _decoupled(self, pos: Tensor, neg: Tensor) -> Tensor:
        attract = pos / self.temperature
        if self.sigma is not None:
            hardness = (pos.detach() / self.sigma).exp()
            attract = attract * (2 - hardness / global_mean(hardness.sum(), len(pos)))
        lonely = ~is_pair(neg).any(dim=1)  # a query without negatives is only attracted
        repel = (neg / self.temperature).masked_fill(lonely[:, None], 0).logsumexp(dim=1)
        total = (repel.masked_fill(lonely, 0) - attract).sum()
        return global_mean(total, len(pos))


class NPair(ContrastiveLoss):
    """log(1 + sum exp(s- - s+)): N-pair with in-batch negatives, else the (N+1)-tuplet loss.

    The paper's similarities are dot products of unnormalised embeddings, so there is no temperature
    (`InBatch(normalize=False)`). The paper's L2 term on the embeddings is a regulariser and not
    part of this loss.

    Source: Sohn 2016, sec. 3.1 (tuplet) and 3.2 (N-pair).
    """

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the queries of all ranks.

        Args:
            pos: (N,) dot products with the positive.
            neg: (N, K) dot products with the negatives, -inf where there is none.
        """
        pos, neg = at_least_float32(pos), at_least_float32(neg)
        differences = neg - pos[:, None]
        one = torch.zeros_like(pos)[:, None]  # exp(0), the 1 under the logarithm
        total = torch.cat([one, differences], dim=1).logsumexp(dim=1).sum()
        return global_mean(total, len(pos))
