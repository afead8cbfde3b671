"""SimCLR: Chen et al. 2020, "A Simple Framework for Contrastive Learning"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn

from ssl_zoo.losses import ContrastiveLoss
from ssl_zoo.methods.base import Method, checked
from ssl_zoo.modules import Encoder
from ssl_zoo.types import MultiViewBatch, StepOutput


@final
class SimCLR(Method):
    """Two views of an image attract each other and repel every other view of the global batch.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        negatives: Dictionary, factory `negatives(dim=...)`; InBatch in the paper.
        loss: `loss(pos, neg)`; InfoNCE over in-batch negatives is NT-Xent.
        **factories: `optimizer` and `scheduler`, see `Method`.

    Source: Chen et al. 2020, algorithm 1. The loss is the paper's mean over the 2N views, half of
    what the official code returns.
    """

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        negatives: Callable[..., nn.Module],
        loss: nn.Module,
        **factories: Any,
    ) -> None:
        super().__init__(**factories)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        self.negatives: Any = negatives(dim=self.encoder.projector.out_dim)
        self.loss = checked(loss, ContrastiveLoss, "SimCLR")

    def step(self, batch: MultiViewBatch) -> StepOutput:
        view1, view2 = batch.views
        n = len(batch.index)
        h, z = self.encoder(
            torch.cat([view1, view2])
        )  # (2N, ...): both views share batch statistics
        index = torch.cat([batch.index, batch.index])
        other_view = torch.cat([z[n:], z[:n]])
        pos, neg = self.negatives.negatives(query=z, key=other_view, index=index)
        loss = self.loss(pos=pos, neg=neg)
        self.negatives.push(other_view, index)
        contrastive_top1 = (pos > neg.max(dim=1).values).float().mean()
        return StepOutput(
            loss, h[:n].detach(), z[:n].detach(), {"contrastive_top1": contrastive_top1.detach()}
        )

    def update(self, progress: float) -> None:
        self.negatives.update()
