"""SimSiam: Chen & He 2021, "Exploring Simple Siamese Representation Learning"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import nn

from ssl_zoo.losses import PredictiveLoss
from ssl_zoo.methods.base import Method, build_loss
from ssl_zoo.modules import Encoder
from ssl_zoo.types import MultiViewBatch, StepOutput


@final
class SimSiam(Method):
    """Each view predicts the other's embedding, which is cut off from the gradient.

    Args:
        backbone: (N, C, H, W) -> (N, num_features); the paper starts residual blocks at zero.
        projector: Factory `projector(in_dim=...)`; ends in a norm without weights in the paper.
        predictor: h, factory `predictor(in_dim=..., out_dim=...)`.
        target: Factory `target(encoder=..., steps_per_epoch=...)`; StopGradient in the paper.
        loss: D, `loss(prediction, target)`; NegativeCosine in the paper.
        symmetric: L = D(p1, z2) / 2 + D(p2, z1) / 2, else D(p1, z2).
        constant_predictor_lr: The predictor's learning rate does not fall.
        **shared: What every method takes, see `Method`.

    Source: Chen & He 2021, sec. 3 and algorithm 1; sec. 4 for the parts removed.
    """

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        predictor: Callable[..., nn.Module],
        target: Callable[..., nn.Module],
        loss: nn.Module,
        symmetric: bool = True,
        constant_predictor_lr: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        self.target = target(encoder=self.encoder, steps_per_epoch=self.steps_per_epoch)
        self.loss = build_loss(loss, PredictiveLoss, "SimSiam", self.num_images)
        self.symmetric, self.constant_predictor_lr = symmetric, constant_predictor_lr

    def step(self, batch: MultiViewBatch) -> StepOutput:
        view1, view2 = batch.views
        h, z1 = self.encoder(view1)  # views apart: each has its own batch statistics
        z2 = self.encoder(view2)[1] if self.symmetric else None
        loss = self.loss(self.predictor(z1), self.target(view2, self.encoder, z2))
        if self.symmetric:
            loss21 = self.loss(self.predictor(z2), self.target(view1, self.encoder, z1))
            loss = (loss + loss21) / 2
        return StepOutput(loss, h.detach(), z1.detach(), {})

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)  # type: ignore[operator]

    def param_groups(self) -> list[dict[str, Any]]:
        predictor = [p for p in self.predictor.parameters() if p.requires_grad]
        groups = [
            {"name": "encoder", "params": list(self.encoder.parameters()), "constant_lr": False},
            {"name": "predictor", "params": predictor, "constant_lr": self.constant_predictor_lr},
        ]
        return [group for group in groups if group["params"]]
