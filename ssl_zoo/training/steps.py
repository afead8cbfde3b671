"""The number of optimizer steps of a run, for the schedule, the EMA and the progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_zoo.data.samplers import limited
from ssl_zoo.types import BadValue


class Rhythm(NamedTuple):
    """How the steps of a run, numbered from 0, lie in its epochs.

    Attributes:
        batches: Micro-batches of an epoch.
        accumulate: Micro-batches of a step; an epoch's last step may have fewer.
        images: Of a micro-batch, over all devices.
    """

    batches: int
    accumulate: int
    images: int

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-self.batches // self.accumulate)

    def epoch(self, step: int) -> int:
        """The epoch of a step, from 0."""
        return step // self.steps

    def images_seen(self, step: int) -> int:
        """Images of the run up to the end of a step, repeated ones counted again."""
        epoch, within = divmod(step, self.steps)
        batches = min((within + 1) * self.accumulate, self.batches)
        return (epoch * self.batches + batches) * self.images

    def in_epochs(self, step: int) -> float:
        """The epochs done at the end of a step."""
        return (step + 1) / self.steps


def rhythm_of(num_batches: int, batch_size: int, trainer: Mapping[str, Any]) -> Rhythm:
    """The rhythm of a run.

    Args:
        num_batches: Micro-batches that the training loader has in an epoch.
        batch_size: Images of a step.
        trainer: As in `count_steps`.
    """
    accumulate = trainer["accumulate_grad_batches"]
    batches = limited("limit_train_batches", trainer["limit_train_batches"], num_batches)
    return Rhythm(batches, accumulate, batch_size // accumulate)


def count_steps(num_batches: int, trainer: Mapping[str, Any]) -> tuple[int, int]:
    """Optimizer steps of an epoch, and of the whole run.

    Args:
        num_batches: Micro-batches that the training loader has in an epoch.
        trainer: The arguments of Lightning's Trainer, as in conf/trainer.

    Raises:
        BadValue: If a limit is invalid, or leaves nothing to train on.
    """
    epochs, max_steps = trainer["max_epochs"], trainer["max_steps"]
    limit = trainer["limit_train_batches"]
    if trainer["fast_dev_run"] < 0:
        raise BadValue("fast_dev_run", trainer["fast_dev_run"], "true, false or a count")
    if trainer["fast_dev_run"]:  # Lightning: this many batches of one epoch
        epochs, max_steps, limit = 1, int(trainer["fast_dev_run"]), int(trainer["fast_dev_run"])
    _check_max_steps(max_steps)
    _check_least(trainer)
    batches = limited("limit_train_batches", limit, num_batches)
    per_epoch = -(-batches // trainer["accumulate_grad_batches"])  # an epoch's last may be smaller
    total = epochs * per_epoch
    return per_epoch, total if max_steps == -1 else min(total, max_steps)


def _check_least(trainer: Mapping[str, Any]) -> None:
    """Refuse a lower limit above the upper one, which Lightning ignores."""
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    for name, limit_name, limit in (("epochs", "epochs", epochs), ("steps", "max_steps", steps)):
        least = trainer.get(f"min_{name}") or 0
        if least < 0:
            raise BadValue(f"min_{name}", least, "at least 0, or null")
        if least > limit > 0:
            raise BadValue(f"min_{name}", least, f"at most {limit_name}={limit}")


def _check_max_steps(max_steps: Any) -> None:
    if type(max_steps) is not int or (max_steps < 1 and max_steps != -1):
        allowed = "a whole number of at least 1, or -1 for no limit"
        raise BadValue("max_steps", max_steps, allowed)
