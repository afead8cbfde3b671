"""LeJEPA: Balestriero & LeCun 2025, "Provable and Scalable Self-Supervised Learning"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from ssl_zoo.losses import StatisticLoss
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss, by_size, num_large
from ssl_zoo.modules import Encoder
from ssl_zoo.types import Embeddings, StepOutput


@final
class LeJEPA(Method):
    """The views of an image are equal, and embeddings an isotropic Gaussian.

    Args:
        backbone: (N, C, H, W) -> (N, num_features).
        projector: Factory `projector(in_dim=...)`; with batch norm, since embeddings that all lie
            at the origin get no gradient.
        loss: `loss(z)` over all views of the global batch; SIGReg in the paper.
        **shared: What every method takes, see `Method`.

    Source: Balestriero & LeCun 2025 and the official code: all views are global in its MINIMAL.md;
    in its README small, local views join them. There is no teacher, no predictor and no
    stop-gradient.
    """

    takes = StatisticLoss

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        self.loss = build_loss(self, loss)
        self.takes_sizes = bool(self.loss.takes_small)

    def takes_views(self, n: int) -> bool:
        return n >= 2

    def embed(self, views: list[Tensor]) -> Embeddings:
        passes = [self.encoder(batch) for batch in by_size(views)]  # a size shares its statistics
        h, z = zip(*passes, strict=True)
        online = list(torch.cat(z).chunk(len(views)))
        large = dict(enumerate(online[: num_large(views)]))  # their mean is what all are drawn to
        return Embeddings(h[0][: len(online[0])].detach(), online, target=large, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        loss = self.loss(torch.stack(embeddings.online), num_large=len(embeddings.target))
        return StepOutput(loss, embeddings.representation, embeddings.online[0].detach(), {})
