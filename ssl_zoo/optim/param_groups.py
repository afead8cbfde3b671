"""From a method's parameter groups to an optimizer's: what has weight decay, and what has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import Optimizer

from ssl_zoo.optim.lars import LARS
from ssl_zoo.types import BadValue


def split_decay(
    groups: Iterable[dict[str, Any]],
    weight_decay: float,
    exclude: bool = True,
    lr_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Split off biases and norms, which have one dimension: without decay, or at another rate.

    Args:
        groups: {name, params, constant_lr}.
        weight_decay: For the first part, and for the second unless it is excluded.
        exclude: Whether the second has no decay, and LARS does not adapt it.
        lr_multiplier: Multiplies the second's rate.

    Returns:
        Groups named `<name>` and `<name>_no_decay` (`<name>_bias_and_norm` if it is not excluded);
        empty ones are left out.
    """
    split = []
    for group in groups:
        params = [p for p in group["params"] if p.requires_grad]
        matrices = [p for p in params if p.ndim > 1]
        if matrices:
            split.append(group | {"params": matrices, "weight_decay": weight_decay, "adapt": True})
        rest = [p for p in params if p.ndim <= 1]
        if rest:
            suffix, decay = ("_no_decay", 0.0) if exclude else ("_bias_and_norm", weight_decay)
            own = {"name": group["name"] + suffix, "params": rest, "weight_decay": decay}
            rate = group.get("lr_multiplier", 1.0) * lr_multiplier
            split.append(group | own | {"adapt": not exclude, "lr_multiplier": rate})
            if exclude:
                split[-1].pop("final_weight_decay", None)
    return split


def build_optimizer(
    param_groups: Iterable[dict[str, Any]],
    optimizer: Callable[..., Optimizer],
    weight_decay: float = 0.0,
    exclude_bias_and_norm: bool = True,
    bias_and_norm_lr_multiplier: float = 1.0,
) -> Optimizer:
    """An optimizer over a method's parameter groups.

    Args:
        param_groups: {name, params, constant_lr}; a group's `lr_multiplier` multiplies its rate,
            and a scheduler moves its decay to `final_weight_decay` by half a cosine.
        optimizer: Factory that takes groups, such as a partial of `torch.optim.SGD`.
        weight_decay: L2 (SGD, Adam, LARS) or decoupled (AdamW) decay.
        exclude_bias_and_norm: No weight decay, and no adaptation by LARS, for biases and norms
            (SimCLR, BYOL); False decays everything (MoCo, SimSiam).
        bias_and_norm_lr_multiplier: The rate of biases and norms, as a multiple of the others'
            (Barlow Twins: 0.0048 beside 0.2).

    Raises:
        BadValue: If the multiplier is below 0.
    """
    multiplier = bias_and_norm_lr_multiplier
    if not 0 <= multiplier < float("inf"):
        raise BadValue("bias_and_norm_lr_multiplier", multiplier, "at least 0")
    if exclude_bias_and_norm or multiplier != 1:
        groups = split_decay(param_groups, weight_decay, exclude_bias_and_norm, multiplier)
    else:
        groups = [group | {"weight_decay": weight_decay} for group in param_groups]
    built = optimizer(groups)
    for group in built.param_groups:
        group["lr"] *= group.pop("lr_multiplier", 1.0)
    if not isinstance(built, LARS):
        for group in built.param_groups:
            group.pop("adapt", None)
    return built
