"""LARS: SGD whose step on each tensor is scaled by a trust ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssl_zoo.types import BadValue

Trust = Literal["joint", "separate"]


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling with momentum, in foreach operations.

    For weights w, gradient g, weight decay b, trust coefficient c and momentum m::

        d = g + b w
        q = c |w| / |d|                  trust = "joint":    SimCLR's code, BYOL, MoCo v3, MAE
        q = c |w| / (|g| + b |w|)        trust = "separate": the paper, apex LARC
        v = m v + lr q d;  w -= v        lr_in_buffer = True:  the paper and SimCLR's code
        v = m v + q d;     w -= lr v     lr_in_buffer = False: BYOL, Barlow Twins, MoCo v3, MAE

    With `clip` the step is q lr up to lr itself: q becomes min(q / lr, 1) (apex LARC, solo-learn).
    The two ways of applying lr agree while lr is constant. q is 1 if either norm is 0, and for
    parameters of groups with `adapt` False (biases and norms; see `build_optimizer`). The trust
    ratio makes the rates of LARS incomparable with SGD's: SimCLR uses 0.3 per 256 images. There is
    no host synchronisation.

    Args:
        params: Parameters or groups; a group may set `adapt`, `weight_decay` and `lr`.
        lr: Learning rate.
        momentum: m.
        weight_decay: b.
        trust_coefficient: c, "eta" in the paper.
        trust: How weight decay enters the ratio, see above.
        lr_in_buffer: Where lr enters, see above.
        nesterov: Look ahead by one step of momentum.
        clip: lr is an upper bound, see above.

    Raises:
        BadValue: If `trust` is unknown.

    Source: You et al. 2017, alg. 1; Chen et al. 2020 (SimCLR), official code.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        trust: Trust = "joint",
        lr_in_buffer: bool = True,
        nesterov: bool = False,
        clip: bool = False,
    ) -> None:
        if trust not in get_args(Trust):
            raise BadValue("trust", trust, "joint or separate")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "trust": trust,
            "lr_in_buffer": lr_in_buffer,
            "nesterov": nesterov,
            "clip": clip,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        grads = [p.grad for p in params if p.grad is not None]
        lr, momentum = group["lr"], group["momentum"]
        update = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        if group["adapt"]:
            ratios: Any = _trust_ratios(
                group, params, grads, update
            )  # torch's stub knows numbers only
            torch._foreach_mul_(update, ratios)
        if group["lr_in_buffer"]:
            torch._foreach_mul_(update, lr)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, update)
        if group["nesterov"]:
            torch._foreach_add_(update, buffers, alpha=momentum)
        else:
            update = buffers
        torch._foreach_add_(params, update, alpha=-1.0 if group["lr_in_buffer"] else -lr)


def _trust_ratios(
    group: dict[str, Any], params: list[Tensor], grads: list[Tensor], update: list[Tensor]
) -> list[Tensor]:
    weight_norm = torch.stack(torch._foreach_norm(params))
    if group["trust"] == "joint":
        update_norm = torch.stack(torch._foreach_norm(update))
    else:
        update_norm = torch.stack(torch._foreach_norm(grads)) + group["weight_decay"] * weight_norm
    ratio = group["trust_coefficient"] * weight_norm / update_norm
    if group["clip"]:
        ratio = (ratio / group["lr"]).clamp(max=1)  # lr = 0: no step, whatever the ratio
    usable = (weight_norm > 0) & (update_norm > 0)
    return list(torch.where(usable, ratio, torch.ones_like(ratio)).unbind())
