"""SimSiam: Chen & He 2021, "Exploring Simple Siamese Representation Learning"."""

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
class SimSiam(Method):
    """Each view predicts the other's embedding, which gets no gradient.

    Args:
        backbone: (N, C, H, W) -> (N, num_features); the paper starts residual blocks at zero.
        projector: Factory `projector(in_dim=...)`; in the paper it ends in a norm without weights.
        predictor: h, factory `predictor(in_dim=..., out_dim=...)`.
        target: Factory `target(encoder=..., facts=...)`; StopGradient in the paper.
        loss: D, `loss(prediction, target)`; NegativeCosine in the paper.
        symmetric: L = D(p1, z2) / 2 + D(p2, z1) / 2, else D(p1, z2).
        constant_predictor_lr: The predictor's learning rate does not fall.
        **shared: What every method takes, see `Method`.

    Source: Chen & He 2021, sec. 3 and algorithm 1; sec. 4 for the parts removed.
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
        constant_predictor_lr: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        self.target: Target = target(encoder=self.encoder, facts=self.facts)
        self.loss = build_loss(self, loss)
        self.symmetric, self.constant_predictor_lr = symmetric, constant_predictor_lr

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
            loss = (loss + self.loss(prediction[1], target[0])) / 2
        return StepOutput(loss, h, z1.detach(), {})

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)

    def param_groups(self) -> list[dict[str, Any]]:
        predictor = [p for p in self.predictor.parameters() if p.requires_grad]
        groups = [
            {"name": "encoder", "params": list(self.encoder.parameters()), "constant_lr": False},
            {"name": "predictor", "params": predictor, "constant_lr": self.constant_predictor_lr},
        ]
        return [group for group in groups if group["params"]]
