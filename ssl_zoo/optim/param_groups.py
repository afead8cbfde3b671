"""From a method's parameter groups to an optimizer's: what has weight decay, and what has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import Optimizer

from ssl_zoo.optim.lars import LARS


def split_decay(groups: Iterable[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    """Split off parameters without weight decay: biases and norms, which have one dimension.

    Args:
        groups: {name, params, constant_lr}.
        weight_decay: For the first part; the second never has any, and LARS does not adapt it.

    Returns:
        Groups named `<name>` and `<name>_no_decay`; empty ones are left out.
    """
    split = []
    for group in groups:
        params = [p for p in group["params"] if p.requires_grad]
        for suffix, decayed in (("", True), ("_no_decay", False)):
            part = [p for p in params if (p.ndim > 1) == decayed]
            if part:
                decay = weight_decay if decayed else 0.0
                name = group["name"] + suffix
                split.append(
                    group | {"name": name, "params": part, "weight_decay": decay, "adapt": decayed}
                )
                if not decayed:
                    split[-1].pop("final_weight_decay", None)
    return split


def build_optimizer(
    param_groups: Iterable[dict[str, Any]],
    optimizer: Callable[..., Optimizer],
    weight_decay: float = 0.0,
    exclude_bias_and_norm: bool = True,
) -> Optimizer:
    """An optimizer over a method's parameter groups.

    Args:
        param_groups: {name, params, constant_lr}; a group's `lr_multiplier` multiplies its rate,
            and a scheduler moves its decay to `final_weight_decay` by half a cosine.
        optimizer: Factory that takes groups, such as a partial of `torch.optim.SGD`.
        weight_decay: L2 (SGD, Adam, LARS) or decoupled (AdamW) decay.
        exclude_bias_and_norm: No weight decay, and no adaptation by LARS, for biases and norms
            (SimCLR, BYOL); False decays everything (MoCo, SimSiam).
    """
    if exclude_bias_and_norm:
        groups = split_decay(param_groups, weight_decay)
    else:
        groups = [group | {"weight_decay": weight_decay} for group in param_groups]
    built = optimizer(groups)
    for group in built.param_groups:
        group["lr"] *= group.pop("lr_multiplier", 1.0)
    if not isinstance(built, LARS):
        for group in built.param_groups:
            group.pop("adapt", None)
    return built
