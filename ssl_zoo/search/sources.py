"""From where a searched knob takes its values, by Hydra's sweep syntax. No torch, no Optuna."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from ssl_zoo.types import UserError

_LOG = "log"  # the tag


class Interval(NamedTuple):
    """All numbers between two, both of them too; `whole` numbers only, or all."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Steps(NamedTuple):
    """The numbers of a range, at least two, in order."""

    numbers: list[int] | list[float]
    step: float
    log: bool = False


class Choice(NamedTuple):
    """Texts in Hydra's grammar, each once."""

    texts: list[str]


Source = Interval | Steps | Choice


def source_of(override: Override) -> Source:
    """What a sweep override draws from.

    Args:
        override: KEY=interval(...), KEY=range(...), KEY=choice(...) or KEY=A,B, with tags.

    Raises:
        UserError: If it makes no sense.
    """
    sweep, line = override.value(), override.input_line
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep, line)
    if not isinstance(sweep, RangeSweep):
        return Choice(list(dict.fromkeys(override.sweep_string_iterator())))
    numbers = _numbers(sweep, line)
    if not numbers:
        raise UserError(f"{line} is an empty range")
    low, log = numbers[0], _LOG in sweep.tags
    if len(numbers) == 1:
        return Choice([repr(low)])
    step = abs(sweep.step)
    if log and not (isinstance(low, int) and step == 1):
        raise UserError(f"{line}: log goes with an interval, or with whole numbers in steps of 1")
    if log:
        _check_log(low, line)
    return Steps(numbers, step, log)


def _numbers(sweep: RangeSweep, line: str | None) -> list[int] | list[float]:
    """Those of a range, without its end, in order; of decimal numbers as they are typed."""
    ends = sweep.start, sweep.stop, sweep.step
    if all(isinstance(end, int) for end in ends):
        return sorted(range(*ends))  # type: ignore[arg-type]
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        raise UserError(f"{line}: the ends of a range are numbers")
    start, stop, step = (Decimal(repr(end)) for end in ends)
    number = math.ceil((stop - start) / step) if step else 0
    return sorted(float(start + i * step) for i in range(number))


def _interval(sweep: IntervalSweep, line: str | None) -> Interval:
    low, high, log = sweep.start, sweep.end, _LOG in sweep.tags
    if low is None or high is None or not math.isfinite(low) or not math.isfinite(high):
        raise UserError(f"{line}: the ends of an interval are numbers")
    if low > high:
        raise UserError(f"{line}: the interval ends before it starts: give interval({high},{low})")
    if log:
        _check_log(low, line)
    return Interval(low, high, log, isinstance(low, int) and isinstance(high, int))


def _check_log(low: float, line: str | None) -> None:
    if low <= 0:
        raise UserError(f"{line}: with log an interval starts above 0")
