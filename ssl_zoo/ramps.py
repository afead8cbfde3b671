"""How a rate, a momentum or a decay moves over a run. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable


def half_cosine(first: float, last: float, done: float, total: float = 1.0) -> float:
    """From `first` to `last` by half a cosine.

    Args:
        first: The value at the start.
        last: The value at the end.
        done: Steps or epochs done, or the fraction of the run.
        total: All of them; 1 for a fraction.
    """
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done / total))


def warm_up(step: int, num_steps: int, first: float = 0.0) -> float:
    """From `first` to 1 in a straight line over `num_steps` steps, then 1."""
    return min(1.0, first + (1 - first) * step / max(1, num_steps))


def steps_down(done: float, milestones: Iterable[float], gamma: float = 0.1) -> float:
    """1, multiplied by `gamma` at each milestone reached; all in steps, or all in epochs."""
    return float(gamma ** sum(done >= milestone for milestone in milestones))
