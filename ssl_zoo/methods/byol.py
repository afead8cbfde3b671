"""BYOL: Grill et al. 2020, "Bootstrap Your Own Latent"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from ssl_zoo.losses import PredictiveLoss
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss
from ssl_zoo.modules import Encoder, Target
from ssl_zoo.types import Embeddings, StepOutput


@final
class BYOL(Method):
    """The online branch predicts the target branch's embedding of the other view.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        predictor: q, factory `predictor(in_dim=..., out_dim=...)`.
        target: The target branch, factory `target(encoder=..., facts=...)`; Momentum in the paper.
        loss: `loss(prediction, target)`; NormalizedMSE in the paper.
        symmetric: Each view predicts the other, and the two losses are added.
        **shared: What every method takes, see `Method`.

    Source: Grill et al. 2020, sec. 3.1 and algorithm 1; table 5 for the parts removed.
    """

    takes = PredictiveLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        predictor: Callable[..., nn.Module],
        target: Callable[..., Target],
        loss: nn.Module,
        symmetric: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        self.target: Target = target(encoder=self.encoder, facts=self.facts)
        self.loss = build_loss(self, loss)
        self.symmetric = symmetric

    def embed(self, views: list[Tensor]) -> Embeddings:
        view1, view2 = views
        h, z1 = self.encoder(view1)  # separate passes: each view has its own batch statistics
        online = [z1, self.encoder(view2)[1]] if self.symmetric else [z1]
        prediction = [self.predictor(z) for z in online]
        target = {1: self.target(view2, self.encoder, *online[1:])}
        if self.symmetric:
            target[0] = self.target(view1, self.encoder, z1)
        return Embeddings(h.detach(), online, target, prediction)

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        h, (z1, *_), target, prediction = embeddings
        loss = self.loss(prediction[0], target[1])
        if self.symmetric:
            loss = loss + self.loss(prediction[1], target[0])
        return StepOutput(loss, h, z1.detach(), {})

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)
