"""The range of a searched knob, and whether a value is at its edge. Imports no torch."""

from __future__ import annotations

import math
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ssl_zoo.console import as_number
from ssl_zoo.search.sources import Choice, Interval, source_of
from ssl_zoo.types import UserError

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
    """Read a dimension as it is written; one that is not understood has no edges."""
    try:
        (override,) = OverridesParser.create().parse_overrides([f"x={written}"])
        source = source_of(override)
    except (HydraException, UserError):
        return Dimension(None, None, False, False)
    if isinstance(source, Interval):
        return Dimension(source.low, source.high, source.log, False)
    if not isinstance(source, Choice):
        return Dimension(source.numbers[0], source.numbers[-1], source.log, True)
    numbers = [number for text in source.texts if (number := as_number(text)) is not None]
    if len(numbers) < max(3, len(source.texts)):  # words, or so few that each is at an end
        return Dimension(None, None, False, True)
    return Dimension(min(numbers), max(numbers), False, True)
