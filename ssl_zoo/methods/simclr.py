"""SimCLR: Chen et al. 2020, "A Simple Framework for Contrastive Learning"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from ssl_zoo.losses import ContrastiveLoss, contrastive_top1
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss, by_size, check_cosines, num_large
from ssl_zoo.modules import Encoder, InBatch, Negatives
from ssl_zoo.types import BadValue, Embeddings, StepOutput


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Rows 2k and 2k + 1 are row k of each view, whatever part of the batch a process has."""
    return torch.stack([first, second], dim=1).flatten(0, 1)


@final
class SimCLR(Method):
    """Two views of an image attract each other and repel every other view of the global batch.

    Of more than two views, the loss is the mean over the pairs that have a large one (multi-crop).

    Args:
        backbone: f, (N, C, H, W) -> (N, num_features).
        projector: g, factory `projector(in_dim=...)`.
        negatives: Dictionary, factory `negatives(dim=..., facts=...)`; InBatch in the paper.
        loss: `loss(pos, neg)`, or a factory `loss(facts=...)`; InfoNCE over in-batch negatives is
            NT-Xent.
        same_view_negatives: Each view repels both views of the other images, 2N - 2 negatives; else
            only their other view (appendix B.10), N - 1.
        **shared: What every method takes, see `Method`.

    Raises:
        UserError: If the loss does not fit, or `same_view_negatives` is false without InBatch.

    Source: Chen et al. 2020, algorithm 1. The loss is the paper's mean over the 2N views, half of
    what the official code returns.
    """

    takes = ContrastiveLoss
    takes_sizes = True

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        negatives: Callable[..., Negatives],
        loss: nn.Module | Callable[..., nn.Module],
        same_view_negatives: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        dim = self.encoder.projector.out_dim
        self.negatives: Negatives = negatives(dim=dim, facts=self.facts)
        self.loss = build_loss(self, loss)
        check_cosines(self.loss, self.negatives)
        if not same_view_negatives and not isinstance(self.negatives, InBatch):
            raise BadValue("same_view_negatives", False, "true where negatives are not in-batch")
        self.same_view_negatives = same_view_negatives

    def embed(self, views: list[Tensor]) -> Embeddings:
        passes = [self.encoder(batch) for batch in by_size(views)]  # a size shares its statistics
        h, z = zip(*passes, strict=True)
        online = list(torch.cat(z).chunk(len(views)))
        large = dict(enumerate(online[: num_large(views)]))
        return Embeddings(h[0][: len(online[0])].detach(), online, target=large, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        z = embeddings.online
        pairs = [(i, v) for i in embeddings.target for v in range(i + 1, len(z))]
        losses, top1 = zip(*(self._contrast(z[i], z[v], index) for i, v in pairs), strict=True)
        self.negatives.push(interleave(z[1], z[0]), interleave(index, index))
        metrics = {"contrastive_top1": top1[0]}
        loss = sum(losses) / len(losses)
        return StepOutput(loss, embeddings.representation, z[0].detach(), metrics)

    def _contrast(self, z1: Tensor, z2: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of two views, and how often the other view is the nearest."""
        query, key = interleave(z1, z2), interleave(z2, z1)
        twice = interleave(index, index)
        if self.same_view_negatives:
            pos, neg = self.negatives.negatives(query=query, key=key, index=twice)
        else:
            pairs = [self.negatives.negatives(q, k, index) for q, k in ((z1, z2), (z2, z1))]
            pos, neg = (interleave(*both) for both in zip(*pairs, strict=True))
        return self.loss(pos=pos, neg=neg), contrastive_top1(pos, neg)

    def update(self, progress: float) -> None:
        self.negatives.update()
