"""Backbone and projector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A backbone f and a projector g: `encoder(view)` is (h, z) with h = f(view), z = g(h).

    Args:
        backbone: (N, C, H, W) -> (N, num_features); has `num_features`.
        projector: (N, num_features) -> (N, embed_dim); has `out_dim`.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def forward(self, view: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        """The representation (N, num_features) and the embedding (N, embed_dim), unnormalised.

        Args:
            view: (N, C, H, W).
            others: Views of other sizes, whose rows follow; the backbone sees each on its own, the
                projector all at once.
        """
        h = self.backbone(view)
        if others:
            h = torch.cat([h, *map(self.backbone, others)])
        return h, self.projector(h)
