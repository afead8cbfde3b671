"""MoCo v3: Chen et al. 2021, "An Empirical Study of Training Self-Supervised ViTs"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from ssl_zoo.losses import ContrastiveLoss, contrastive_top1
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss, check_cosines
from ssl_zoo.modules import Encoder, Negatives, Target
from ssl_zoo.types import Embeddings, StepOutput


@final
class MoCoV3(Method):
    """A query finds the other view's key among the keys of the batch, from a slow encoder.

    Args:
        backbone: f_q without its heads, (N, C, H, W) -> (N, num_features).
        projector: Factory `projector(in_dim=...)`; the slow encoder has one too.
        predictor: Of the queries only, factory `predictor(in_dim=..., out_dim=...)`.
        target: f_k, factory `target(encoder=..., facts=...)`; Momentum in the paper.
        negatives: Factory `negatives(dim=..., facts=...)`; InBatch in the paper, where each key but
            the query's own is a negative.
        loss: `loss(pos, neg)`, or a factory `loss(facts=...)`; InfoNCE times 2 tau in the paper.
        **shared: What every method takes, see `Method`.

    Source: Chen et al. 2021, algorithm 1 and the official code. That code moves f_k in the next
    step's forward pass, by that step's momentum: after an optimizer step this is the same, but for
    the first step, in which f_k is a copy.
    """

    takes = ContrastiveLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        predictor: Callable[..., nn.Module],
        target: Callable[..., Target],
        negatives: Callable[..., Negatives],
        loss: nn.Module | Callable[..., nn.Module],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.predictor = predictor(in_dim=dim, out_dim=dim)
        self.target: Target = target(encoder=self.encoder, facts=self.facts)
        self.negatives: Negatives = negatives(dim=dim, facts=self.facts)
        self.loss = build_loss(self, loss)
        check_cosines(self.loss, self.negatives)

    def embed(self, views: list[Tensor]) -> Embeddings:
        view1, view2 = views
        h, z1 = self.encoder(view1)  # separate passes: each view has its own batch statistics
        _, z2 = self.encoder(view2)
        query = [self.predictor(z1), self.predictor(z2)]
        key = {0: self.target(view1, self.encoder, z1), 1: self.target(view2, self.encoder, z2)}
        return Embeddings(h.detach(), online=[z1, z2], target=key, prediction=query)

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        h, (z1, _), key, (q1, q2) = embeddings
        loss1, top1 = self._contrast(q1, key[1], index)
        loss2, _ = self._contrast(q2, key[0], index)
        for k in key.values():
            self.negatives.push(k, index)
        return StepOutput(loss1 + loss2, h, z1.detach(), {"contrastive_top1": top1})

    def _contrast(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and how often the key is the nearest of all."""
        pos, neg = self.negatives.negatives(query=query, key=key, index=index)
        return self.loss(pos=pos, neg=neg), contrastive_top1(pos, neg)

    def update(self, progress: float) -> None:
        one_step = 1 / self.facts.total_steps if self.facts.total_steps else 0.0
        self.target.update(self.encoder, min(1.0, progress + one_step))
        self.negatives.update()
