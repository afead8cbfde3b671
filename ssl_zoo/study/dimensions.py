"""What a knob was searched over, as it is written: interval(0.1,1), tag(log,...), choice(...)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException

_EDGE = 0.05  # of the range


class Dimension(NamedTuple):
    """The range of a knob.

    Attributes:
        low: Its smallest number; None of words.
        high: Its largest number.
        log: Whether it was drawn on a log scale.
        several: Whether it has single values, of which those at the ends are its edges.
    """

    low: float | None
    high: float | None
    log: bool
    several: bool

    def is_edge(self, value: float) -> bool:
        """Whether a value is so near to an end that the best one may lie beyond it."""
        if self.low is None or self.high is None or self.low >= self.high:
            return False
        if self.several:
            return value <= self.low or value >= self.high
        low, high, at = (self._place(one) for one in (self.low, self.high, value))
        return min(at - low, high - at) <= _EDGE * (high - low)

    def _place(self, value: float) -> float:
        return math.log(value) if self.log and value > 0 else value


def dimension_of(written: object) -> Dimension:
    """Read a dimension; one that is not understood has no edges."""
    try:
        (override,) = OverridesParser.create().parse_overrides([f"x={written}"])
    except HydraException:
        return Dimension(None, None, False, False)
    sweep: Any = override.value()
    log = "log" in getattr(sweep, "tags", ())
    if isinstance(sweep, IntervalSweep):
        return Dimension(_number(sweep.start), _number(sweep.end), log, False)
    if isinstance(sweep, RangeSweep | ChoiceSweep):
        values = [_number(one) for one in override.sweep_iterator()]
        numbers = [one for one in values if one is not None]
        if len(numbers) == len(values) > 2:
            return Dimension(min(numbers), max(numbers), log, True)
    return Dimension(None, None, log, True)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
