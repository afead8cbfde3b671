"""MoCo: He et al. 2020, "Momentum Contrast"; v2: Chen et al. 2020, "Improved Baselines"."""

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
class MoCo(Method):
    """A query finds its key in a dictionary of keys from a slowly moving encoder.

    Args:
        backbone: f_q without its head, (N, C, H, W) -> (N, num_features).
        projector: The head, factory `projector(in_dim=...)`; linear in v1, an MLP in v2.
        target: f_k, factory `target(encoder=..., facts=...)`; Momentum in the paper.
        negatives: The dictionary, factory `negatives(dim=..., facts=...)`; Queue in the paper.
        loss: `loss(pos, neg)`, or a factory `loss(facts=...)`; InfoNCE in the paper.
        symmetric: Each view is a query once, the two losses are added, and both keys enter.
        **shared: What every method takes, see `Method`.

    Source: He et al. 2020, algorithm 1: logits from the dictionary as it was, then the optimizer,
    the momentum encoder, and last the dictionary.
    """

    takes = ContrastiveLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        target: Callable[..., Target],
        negatives: Callable[..., Negatives],
        loss: nn.Module | Callable[..., nn.Module],
        symmetric: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.target: Target = target(encoder=self.encoder, facts=self.facts)
        self.negatives: Negatives = negatives(dim=dim, facts=self.facts)
        self.loss = build_loss(self, loss)
        check_cosines(self.loss, self.negatives)
        self.symmetric = symmetric

    def embed(self, views: list[Tensor]) -> Embeddings:
        view1, view2 = views
        h, query1 = self.encoder(view1)
        query = [query1, self.encoder(view2)[1]] if self.symmetric else [query1]
        key = {1: self.target(view2, self.encoder, *query[1:])}
        if self.symmetric:
            key[0] = self.target(view1, self.encoder, query1)
        return Embeddings(h.detach(), online=query, target=key, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        query, key = embeddings.online, embeddings.target
        loss, top1 = self._contrast(query[0], key[1], index)
        if self.symmetric:
            loss = loss + self._contrast(query[1], key[0], index)[0]
            self.negatives.push(key[0], index)
        self.negatives.push(key[1], index)
        metrics = {"contrastive_top1": top1}
        return StepOutput(loss, embeddings.representation, query[0].detach(), metrics)

    def _contrast(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and how often the key is the nearest in the dictionary."""
        pos, neg = self.negatives.negatives(query=query, key=key, index=index)
        return self.loss(pos=pos, neg=neg), contrastive_top1(pos, neg)

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)
        self.negatives.update()
