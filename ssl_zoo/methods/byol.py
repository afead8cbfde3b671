"""BYOL: Grill et al. 2020, "Bootstrap Your Own Latent"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import nn

from ssl_zoo.losses import PredictiveLoss
from ssl_zoo.methods.base import Method, build_loss
from ssl_zoo.modules import Encoder
from ssl_zoo.types import MultiViewBatch, StepOutput


@final
class BYOL(Method):
    """The online branch predicts what the target branch makes of the other view.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        predictor: q, factory `predictor(in_dim=..., out_dim=...)`.
        target: The target branch, factory `target(encoder=..., steps_per_epoch=...)`; Momentum in
            the paper.
        loss: `loss(prediction, target)`; NormalizedMSE in the paper.
        symmetric: Each view predicts the other, and the two losses are added.
        **shared: What every method takes, see `Method`.

    Source: Grill et al. 2020, sec. 3.1 and algorithm 1; table 5 for the parts removed.
    """

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        predictor: Callable[..., nn.Module],
        target: Callable[..., nn.Module],
        loss: nn.Module,
        symmetric: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        self.target = target(encoder=self.encoder, steps_per_epoch=self.steps_per_epoch)
        self.loss = build_loss(loss, PredictiveLoss, "BYOL", self.num_images)
        self.symmetric = symmetric

    def step(self, batch: MultiViewBatch) -> StepOutput:
        view1, view2 = batch.views
        h, z1 = self.encoder(view1)  # views apart: each has its own batch statistics
        z2 = self.encoder(view2)[1] if self.symmetric else None
        loss = self.loss(self.predictor(z1), self.target(view2, self.encoder, z2))
        if self.symmetric:
            loss = loss + self.loss(self.predictor(z2), self.target(view1, self.encoder, z1))
        return StepOutput(loss, h.detach(), z1.detach(), {})

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)  # type: ignore[operator]
