"""What a study searches, and the points that it tries: the same for all methods where they share.

A point depends on the study's seed and its own number only, so that it does not matter how often a
study was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ssl_zoo.config.choices import groups_of
from ssl_zoo.search.sources import Choice, Interval, Source, Steps, source_of
from ssl_zoo.types import UserError

_DIGITS = 6  # of a searched number
_EXAMPLE = "'tag(log,interval(0.02,1))' or 'choice(64,128)'"
_NEVER = ("seed", "name", "run_dir", "resume", "sweep", "dry_run", "trust", "epochs")
Value = float | int | str | bool | None | list[Any]


@dataclass(frozen=True)
class Dimension:
    """A knob that is searched.

    Attributes:
        knob: Its dotted key.
        text: As given, such as tag(log,interval(0.02,1)).
        source: What that says.
    """

    knob: str
    text: str
    source: Source

    def at(self, share: float) -> Value:
        """The value at a share of the way through the dimension, in [0, 1)."""
        if isinstance(self.source, Choice):
            return parsed(_entry(self.source.texts, share))
        if isinstance(self.source, Steps):
            number: float = _entry(self.source.numbers, share)
            return number
        return _between(self.source, share)


def _entry(values: Sequence[Any], share: float) -> Any:
    return values[min(int(share * len(values)), len(values) - 1)]


def _between(source: Interval, share: float) -> float | int:
    low, high = float(source.low), float(source.high)
    if source.whole:  # each whole number has the same part, of the logarithm if that is asked for
        low, high = low - 0.5, high + 0.5
    if source.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    if source.whole:
        return int(min(max(round(value), source.low), source.high))
    return min(max(float(f"{value:.{_DIGITS}g}"), float(source.low)), float(source.high))


def parsed(text: str) -> Value:
    """A text in Hydra's grammar as the value that it sets."""
    value = OverridesParser.create().parse_override(f"x={text}").value()
    return value if isinstance(value, int | float | bool | list) or value is None else str(value)


def dimension_of(knob: str, text: str, where: str = "search") -> Dimension:
    """Read a dimension.

    Args:
        knob: A knob of train.py.
        text: In Hydra's sweep syntax.
        where: In the study's settings, for errors.

    Raises:
        UserError: If it cannot be searched over.
    """
    line = f"{where}.{knob}={text}"
    if "/" in knob or knob.startswith(("+", "~")) or knob in ("", *groups_of("train")):
        raise UserError(
            f"{line}: a study searches values of knobs; what chooses another part is another "
            "method: give it a name of its own under methods"
        )
    if knob in _NEVER:
        raise UserError(f"{line}: {knob} is not a knob to search over")
    try:
        override = OverridesParser.create().parse_override(f"{knob}={text}")
    except HydraException as error:
        raise UserError(f"{line} cannot be read: give {_EXAMPLE}") from error
    if not override.is_sweep_override():
        raise UserError(f"{line} is one value: give {_EXAMPLE}, or put it into common")
    try:
        source = source_of(override)
    except UserError as error:
        raise UserError(f"{where}.{error}") from error
    if isinstance(source, Choice) and len(source.texts) < 2:
        raise UserError(f"{line} is one value: give {_EXAMPLE}, or put it into common")
    return Dimension(knob, text, source)


@dataclass(frozen=True)
class Space:
    """What is searched, for each method.

    Attributes:
        shared: The dimensions of all methods, in order.
        own: Of each method, those that it has alone.
    """

    shared: list[Dimension]
    own: dict[str, list[Dimension]]

    def of(self, method: str) -> list[Dimension]:
        """A method's dimensions, those of its own with a shared knob's name in that one's place."""
        own = {one.knob: one for one in self.own[method]}
        shared = [own.get(one.knob, one) for one in self.shared]
        names = {one.knob for one in self.shared}
        return [*shared, *(one for knob, one in own.items() if knob not in names)]

    def width(self) -> int:
        """The dimensions of the method that has most."""
        return max(len(self.of(method)) for method in self.own)


def space_of(search: Mapping[str, str], of_methods: Mapping[str, Mapping[str, str]]) -> Space:
    """Read what is searched.

    Args:
        search: The text of each shared knob.
        of_methods: Of each method, the texts of its own.

    Raises:
        UserError: If one cannot be searched over.
    """
    shared = [dimension_of(knob, text) for knob, text in search.items()]
    own = {
        method: [dimension_of(knob, text, f"methods.{method}.search") for knob, text in one.items()]
        for method, one in of_methods.items()
    }
    return Space(shared, own)


def sobol(space: Space, trials: int, seed: int) -> dict[str, list[dict[str, Value]]]:
    """The points of each method, one for each trial.

    All methods take the same scrambled Sobol sequence: its first dimensions are the shared ones.

    Args:
        space: What is searched.
        trials: Of each method.
        seed: Of the scrambling.
    """
    width = space.width()
    if not width:
        return {method: [{} for _ in range(trials)] for method in space.own}
    from scipy.stats import qmc  # slow to import

    sequence = qmc.Sobol(width, scramble=True, rng=seed)
    points = sequence.random_base2((trials - 1).bit_length())[:trials].tolist()
    return {
        method: [
            {one.knob: one.at(share) for one, share in zip(space.of(method), point, strict=False)}
            for point in points
        ]
        for method in space.own
    }
