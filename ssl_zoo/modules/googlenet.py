"""GoogLeNet with batch norm, the nearest that torchvision has to BN-Inception."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from ssl_zoo.types import UserError


def googlenet(weights: str | None = None) -> nn.Module:
    """GoogLeNet of torchvision without its classifiers: (N, 3, H, W) -> (N, 1024).

    Its auxiliary classifiers, because of which it returns tuples in training, are left off.

    Args:
        weights: torchvision's name of pretrained weights, such as "DEFAULT".

    Raises:
        UserError: If the weights are unknown.

    Source: Szegedy et al. 2015, with the batch norm of Ioffe & Szegedy 2015.
    """
    known = torchvision.models.GoogLeNet_Weights.__members__
    if weights is not None and weights not in known:
        raise UserError(f"backbone.weights={weights} is unknown: googlenet has {', '.join(known)}")
    own = {"init_weights": True} if weights is None else {}  # else torchvision warns
    model: Any = torchvision.models.googlenet(weights=weights, aux_logits=False, **own)
    model.num_features = model.fc.in_features
    model.fc = nn.Identity()
    backbone: nn.Module = model
    return backbone
