"""Two optimizers that step as one: the encoder's, and that of the loss's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

LOSS_GROUP = "loss"


class JointOptimizer(Optimizer):
    """Several optimizers as one, so that Lightning steps, schedules and saves them together.

    The groups are those of the parts, in their order, and all share one state.

    Args:
        optimizers: The parts; no parameter is in two of them.
    """

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([g for part in self.optimizers for g in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give groups and state to the parts, which then read and write the same objects."""
        first = 0
        for part in self.optimizers:
            last = first + len(part.param_groups)
            part.param_groups = self.param_groups[first:last]
            part.state = self.state
            first = last

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One step of each part."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.optimizers:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of all parts."""
        super().load_state_dict(state_dict)  # makes new groups and a new state
        self._share()


def build_joint_optimizer(
    param_groups: Iterable[dict[str, Any]],
    optimizer: Callable[..., Optimizer],
    loss_optimizer: Callable[..., Optimizer],
) -> Optimizer:
    """A separate optimizer for the group "loss", beside that of all other groups.

    Args:
        param_groups: {name, params, constant_lr}.
        optimizer: Factory that takes groups, for all but the loss.
        loss_optimizer: Likewise, for the loss's parameters (proxies, class weights, boundaries).
            They are left out of weight decay unless the factory sets it.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.1.
    """
    groups = list(param_groups)
    own = [group for group in groups if group["name"] == LOSS_GROUP]
    main = optimizer([group for group in groups if group["name"] != LOSS_GROUP])
    return JointOptimizer([main, loss_optimizer(own)]) if own else main
