"""SupCon: Khosla et al. 2020, "Supervised Contrastive Learning"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_zoo.console import info
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses import LabelledLoss
from ssl_zoo.methods.base import Method
from ssl_zoo.methods.checks import build_loss, by_size
from ssl_zoo.modules import Encoder
from ssl_zoo.types import Embeddings, StepOutput, UserError


@final
class SupCon(Method):
    """All views of a class attract each other and repel those of other classes; needs labels.

    Unlabelled images among labelled ones are classes of their own.

    Args:
        backbone: Enc, (N, C, H, W) -> (N, num_features).
        projector: Proj, factory `projector(in_dim=...)`; an MLP without norms in the paper.
        loss: `loss(z, label)` over the unit vectors of all views of the global batch, or a factory
            `loss(facts=...)`; SupervisedContrastive in the paper.
        **shared: What every method takes, see `Method`; `facts` with `num_classes` among it.

    Raises:
        UserError: If no image has a label, or the loss does not fit.

    Source: Khosla et al. 2020, sec. 3, and the official code.
    """

    takes = LabelledLoss
    takes_sizes = True

    def __init__(
        self,
        backbone: nn.Module,
        projector: Callable[..., nn.Module],
        loss: nn.Module | Callable[..., nn.Module],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if self.facts.num_classes == 0:
            raise UserError(
                "SupCon needs labels, but these images have none: give each class a folder, "
                "or choose a method without labels"
            )
        if self.facts.num_classes == self.facts.num_images:
            info("each class has one image: SupCon has no positives but an image's own views")
        self.encoder = Encoder(backbone, projector(in_dim=backbone.num_features))
        self.loss = build_loss(self, loss)

    def takes_views(self, n: int) -> bool:
        return n >= 2

    def embed(self, views: list[Tensor]) -> Embeddings:
        h, z = self.encoder(*by_size(views))  # all views of a size share batch statistics
        online = list(z.chunk(len(views)))
        return Embeddings(h[: len(online[0])].detach(), online, target={}, prediction=[])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        z = normalize(at_least_float32(torch.stack(embeddings.online)), dim=2)
        loss = self.loss(z, label)
        return StepOutput(loss, embeddings.representation, embeddings.online[0].detach(), {})
