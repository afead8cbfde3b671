"""MoCo: He et al. 2020, "Momentum Contrast"; v2: Chen et al. 2020, "Improved Baselines"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from ssl_zoo.losses import ContrastiveLoss
from ssl_zoo.methods.base import Method, build_loss, check_cosines
from ssl_zoo.modules import Encoder
from ssl_zoo.types import MultiViewBatch, StepOutput


@final
class MoCo(Method):
    """A query finds its key among a dictionary of keys that a slow encoder made.

    Args:
        backbone: f_q without its head, (N, C, H, W) -> (N, num_features).
        projector: The head, factory `projector(in_dim=...)`; linear in v1, an MLP in v2.
        target: f_k, factory `target(encoder=..., steps_per_epoch=...)`; Momentum in the paper.
        negatives: The dictionary, factory `negatives(dim=..., num_images=...)`; Queue in the paper.
        loss: `loss(pos, neg)`; InfoNCE in the paper.
        symmetric: Both views are queries once, the two losses are added, and both keys enter.
        **shared: What every method takes, see `Method`.

    Source: He et al. 2020, algorithm 1: logits from the dictionary as it was, then the optimizer,
    the momentum encoder, and last the dictionary.
    """

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        target: Callable[..., nn.Module],
        negatives: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        symmetric: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        self.target = target(encoder=self.encoder, steps_per_epoch=self.steps_per_epoch)
        self.negatives: Any = negatives(
            dim=self.encoder.projector.out_dim, num_images=self.num_images
        )
        self.loss = build_loss(loss, ContrastiveLoss, "MoCo", self.num_images)
        check_cosines(self.loss, self.negatives)
        self.symmetric = symmetric

    def step(self, batch: MultiViewBatch) -> StepOutput:
        view1, view2 = batch.views
        h, query1 = self.encoder(view1)
        query2 = self.encoder(view2)[1] if self.symmetric else None
        key2 = self.target(view2, self.encoder, query2)
        loss, top1 = self._contrast(query1, key2, batch.index)
        if self.symmetric:
            key1 = self.target(view1, self.encoder, query1)
            loss = loss + self._contrast(query2, key1, batch.index)[0]
            self.negatives.push(key1, batch.index)
        self.negatives.push(key2, batch.index)
        return StepOutput(loss, h.detach(), query1.detach(), {"contrastive_top1": top1})

    def _contrast(self, query: Tensor | None, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and how often the key is the nearest in the dictionary."""
        pos, neg = self.negatives.negatives(query=query, key=key, index=index)
        top1 = (pos > neg.max(dim=1).values).float().mean().detach()
        return self.loss(pos=pos, neg=neg), top1

    def update(self, progress: float) -> None:
        self.target.update(self.encoder, progress)  # type: ignore[operator]
        self.negatives.update()
