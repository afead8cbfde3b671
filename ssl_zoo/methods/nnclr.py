"""NNCLR: Dwibedi et al. 2021, "With a Little Help from My Friends"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from ssl_zoo.losses import ContrastiveLoss, contrastive_top1
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss
from ssl_zoo.modules import Encoder, InBatch, SupportSet
from ssl_zoo.types import Embeddings, StepOutput, UserError


@final
class NNCLR(Method):
    """The nearest neighbour of one view identifies the prediction of the other in the batch.

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        predictor: h, factory `predictor(in_dim=..., out_dim=...)`.
        support_set: Q, where neighbours are looked up, factory `support_set(dim=..., facts=...)`.
        loss: `loss(pos, neg)`, or a factory `loss(facts=...)`; InfoNCE in the paper.
        **shared: What every method takes, see `Method`.

    Raises:
        UserError: If the loss does not fit, or neighbours are looked up in something else.

    Source: Dwibedi et al. 2021, eq. 3 and algorithm 1: both look-ups, the loss, and then z of the
    first view enters Q. Neighbours get no gradient. There is no official code.
    """

    takes = ContrastiveLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        predictor: Callable[..., nn.Module],
        support_set: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        neighbours = support_set(dim=dim, facts=self.facts)
        if not isinstance(neighbours, SupportSet):
            raise UserError(
                f"NNCLR takes a support set, not {type(neighbours).__name__}: choose SupportSet"
            )
        self.support_set = neighbours
        self.predictions = InBatch()
        self.loss = build_loss(self, loss)

    def embed(self, views: list[Tensor]) -> Embeddings:
        view1, view2 = views
        h, z1 = self.encoder(view1)  # separate passes: each view has its own batch statistics
        _, z2 = self.encoder(view2)
        prediction = [self.predictor(z1), self.predictor(z2)]
        return Embeddings(h.detach(), online=[z1, z2], target={}, prediction=prediction)

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        h, (z1, z2), _, (p1, p2) = embeddings
        nn1, nn2 = self.support_set.nearest(z1), self.support_set.nearest(z2)
        loss1, top1 = self._contrast(nn1, p2, index)
        loss2, _ = self._contrast(nn2, p1, index)
        self.support_set.push(z1, index)
        return StepOutput((loss1 + loss2) / 2, h, z1.detach(), {"contrastive_top1": top1})

    def _contrast(self, neighbour: Tensor, p: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss over all predictions of the batch, and how often the right one is nearest."""
        pos, neg = self.predictions.negatives(query=neighbour, key=p, index=index)
        return self.loss(pos=pos, neg=neg), contrastive_top1(pos, neg)

    def update(self, progress: float) -> None:
        self.support_set.update()
