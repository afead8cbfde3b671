"""Learning-rate schedules by optimizer step; groups with `constant_lr` keep their rate.

Each also moves the weight decay of a group to its `final_weight_decay`, if set, by half a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ssl_zoo.console import info
from ssl_zoo.ramps import half_cosine, steps_down, warm_up
from ssl_zoo.types import BadValue


class _MovingDecay(LambdaLR):
    """Schedules weight decay too. Its state is saved with the groups, as `initial_lr` is."""

    def __init__(
        self, optimizer: Optimizer, factors: list[Callable[[int], float]], total_steps: int
    ) -> None:
        self.total_steps = total_steps
        for group in _moving(optimizer):
            group.setdefault("initial_weight_decay", group["weight_decay"])
        super().__init__(optimizer, factors)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A run that goes on may have another length."""
        super().load_state_dict(state_dict | {"total_steps": self.total_steps})

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        done = min(self.last_epoch, self.total_steps)
        for group in _moving(self.optimizer):
            first, last = group["initial_weight_decay"], group["final_weight_decay"]
            group["weight_decay"] = half_cosine(first, last, done, self.total_steps)


def _moving(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [group for group in optimizer.param_groups if "final_weight_decay" in group]


def _schedule(optimizer: Optimizer, total_steps: int, factor: Callable[[int], float]) -> LambdaLR:
    def keep(step: int) -> float:
        return 1.0

    groups = optimizer.param_groups
    factors = [keep if group.get("constant_lr") else factor for group in groups]
    if _moving(optimizer):
        return _MovingDecay(optimizer, factors, total_steps)
    return LambdaLR(optimizer, factors)


def cosine_factor(step: int, total_steps: int, warmup_steps: int, final: float = 0.0) -> float:
    """Factor on the rate: linear from 0 to 1 in the warm-up, then half a cosine to `final`."""
    if step < warmup_steps:
        return warm_up(step, warmup_steps)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return half_cosine(1.0, final, progress)


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    warmup_epochs: float = 10.0,
    epochs: float = 100.0,
    final: float = 0.0,
) -> LambdaLR:
    """Linear warm-up from 0, then a cosine, by step.

    Args:
        optimizer: Its groups' current rates are the peaks.
        total_steps: Optimizer steps of the whole run.
        warmup_epochs: Length of the warm-up.
        epochs: Epochs of the whole run.
        final: The last rate as a fraction of the peak.

    Raises:
        BadValue: If the warm-up is longer than the run.

    Source: Loshchilov & Hutter 2017; Goyal et al. 2017; Chen et al. 2020 (SimCLR), official code.
    """
    if warmup_epochs > epochs:
        raise BadValue("warmup_epochs", warmup_epochs, f"at most epochs={epochs}")
    # whole steps, as in SimCLR's code; 1e-6 absorbs the rounding of products such as 0.05 * epochs
    warmup_steps = int(total_steps * warmup_epochs / epochs + 1e-6)

    def factor(step: int) -> float:
        return cosine_factor(step, total_steps, warmup_steps, final)

    return _schedule(optimizer, total_steps, factor)


def cosine_by_epoch(
    optimizer: Optimizer,
    total_steps: int,
    epochs: int = 100,
    first_epoch: int = 0,
    final: float = 0.0,
    warmup_epochs: float = 0.0,
    warmup_from: float = 0.0,
) -> LambdaLR:
    """Half a cosine that moves once per epoch: (1 + cos(pi epoch / epochs)) / 2.

    Args:
        optimizer: Its groups' current rates are the peaks.
        total_steps: Optimizer steps of the whole run.
        epochs: Epochs of the whole run.
        first_epoch: Number of the first epoch: 0, or 1 as in MoCo's CIFAR-10 notebook and SupCon.
        final: The last rate as a fraction of the peak.
        warmup_epochs: Length of a warm-up by step, in a straight line to where the cosine is then.
        warmup_from: The first rate of the warm-up as a fraction of the peak.

    Raises:
        BadValue: If the warm-up is longer than the run.

    Source: the official code of MoCo v2, SimSiam and SupCon.
    """
    if warmup_epochs > epochs:
        raise BadValue("warmup_epochs", warmup_epochs, f"at most epochs={epochs}")
    warmup_steps = int(total_steps * warmup_epochs / epochs + 1e-6)
    reached = half_cosine(1.0, final, warmup_epochs, epochs)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warmup_from + (reached - warmup_from) * step / warmup_steps
        epoch = min(epochs, step * epochs // total_steps + first_epoch)
        return half_cosine(1.0, final, epoch, epochs)

    return _schedule(optimizer, total_steps, factor)


def multistep(
    optimizer: Optimizer,
    total_steps: int,
    milestones: Sequence[float] = (120, 160),
    epochs: float = 200.0,
    gamma: float = 0.1,
) -> LambdaLR:
    """Multiply the rate by `gamma` at each milestone, given in epochs (MoCo v1, InstDisc).

    Raises:
        BadValue: If a milestone is not a number.
    """
    listed = milestones if not isinstance(milestones, int | float) else ["no list"]
    if not all(isinstance(milestone, int | float) for milestone in listed):
        raise BadValue("milestones", milestones, "a list of epochs, as in [120,160]")
    late = [str(milestone) for milestone in milestones if milestone >= epochs]
    if late:
        info(
            f"milestones beyond the last epoch ({epochs:g}): {', '.join(late)}: the learning rate "
            "does not drop there"
        )
    steps = [round(total_steps * milestone / epochs) for milestone in milestones]
    return _schedule(optimizer, total_steps, lambda step: steps_down(step, steps, gamma))


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """A constant rate."""
    return _schedule(optimizer, total_steps, lambda step: 1.0)
