"""VICReg: Bardes et al. 2022, "Variance-Invariance-Covariance Regularization"."""

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
class VICReg(Method):
    """Two views' embeddings are equal, vary over the batch, and are not redundant.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: h, the expander, factory `projector(in_dim=...)`; wide in the paper, 8192.
        loss: `loss(z)` over both views of the global batch; VarianceInvarianceCovariance in the
            paper.
        **shared: What every method takes, see `Method`.

    Source: Bardes et al. 2022, algorithm 1 and the official code. Nothing is normalised, and there
    is no stop-gradient.
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
