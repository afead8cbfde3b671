"""Barlow Twins: Zbontar et al. 2021, "Self-Supervised Learning via Redundancy Reduction"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from ssl_zoo.losses import StatisticLoss
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss
from ssl_zoo.modules import Encoder
from ssl_zoo.types import Embeddings, StepOutput


@final
class BarlowTwins(Method):
    """The dimensions of two views' embeddings correlate each with itself and with no other.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: Factory `projector(in_dim=...)`; wide in the paper, 8192.
        loss: `loss(z)` over both views of the global batch; CrossCorrelation in the paper.
        **shared: What every method takes, see `Method`.

    Source: Zbontar et al. 2021, algorithm 1 and the official code. There is no stop-gradient, no
    predictor and no momentum.
    """

    takes = StatisticLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        self.loss = build_loss(self, loss)

    def embed(self, views: list[Tensor]) -> Embeddings:
        view_a, view_b = views
        h, z_a = self.encoder(view_a)  # separate passes: each view has its own batch statistics
        _, z_b = self.encoder(view_b)
        return Embeddings(h.detach(), online=[z_a, z_b], target={}, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        z_a, z_b = embeddings.online
        loss = self.loss(torch.stack([z_a, z_b]))
        return StepOutput(loss, embeddings.representation, z_a.detach(), {})
