"""Targets: what a prediction or a query is compared with.

`target(view, encoder, embedding=None) -> z` of a view; `update(encoder, progress)` after each
optimizer step. `embedding` is the online z of that view, where the method has it already.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ssl_zoo.types import UserError


def _frozen_copy(encoder: nn.Module) -> nn.Module:
    twin = copy.deepcopy(encoder)
    for p in twin.parameters():
        p.requires_grad_(False)
    return twin


class Momentum(nn.Module):
    """An encoder of its own that follows the online one: theta_t <- m theta_t + (1 - m) theta.

    Parameters follow. Norms keep their own running statistics, as in every official code, since
    the target runs in train mode.

    Args:
        encoder: The online encoder, which it starts as a copy of.
        momentum: m; 0 = a copy after each step, 1 = it never moves.
        final_momentum: m goes there by half a cosine over the run (BYOL: 1); None = constant.

    Raises:
        UserError: If a momentum is outside [0, 1].

    Source: He et al. 2020 (MoCo), eq. 2; Grill et al. 2020 (BYOL), sec. 3.3.
    """

    def __init__(
        self, encoder: nn.Module, momentum: float = 0.999, final_momentum: float | None = None
    ) -> None:
        super().__init__()
        for value in (momentum, final_momentum):
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"method.momentum={value} is outside [0, 1]")
        self.encoder = _frozen_copy(encoder)
        self.momentum, self.final_momentum = momentum, final_momentum

    def momentum_at(self, progress: float) -> float:
        """The momentum at a point of the run, from 0 to 1."""
        if self.final_momentum is None:
            return self.momentum
        rest = self.final_momentum - self.momentum
        return self.final_momentum - rest * (math.cos(math.pi * progress) + 1) / 2

    @torch.no_grad()
    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = self.encoder(view)[1]
        return z

    @torch.no_grad()
    def update(self, encoder: nn.Module, progress: float) -> None:
        own: list[Tensor] = list(self.encoder.parameters())
        online: list[Tensor] = list(encoder.parameters())
        torch._foreach_lerp_(own, online, 1 - self.momentum_at(progress))


class StopGradient(nn.Module):
    """The online embedding itself, cut off from the gradient (SimSiam).

    Source: Chen & He 2021 (SimSiam), sec. 3.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()

    @torch.no_grad()
    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = encoder(view)[1] if embedding is None else embedding
        return z.detach()

    def update(self, encoder: nn.Module, progress: float) -> None:
        """Nothing to move."""


class Shared(nn.Module):
    """The online embedding itself, with its gradient (SimSiam without stop-gradient; end-to-end).

    Source: Chen & He 2021 (SimSiam), sec. 4.1; He et al. 2020 (MoCo), fig. 2a.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        z: Tensor = encoder(view)[1] if embedding is None else embedding
        return z

    def update(self, encoder: nn.Module, progress: float) -> None:
        """Nothing to move."""
