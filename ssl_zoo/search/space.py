"""What the overrides of a search say: what is fixed, and from where each knob is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ssl_zoo.config import CHANGEABLE
from ssl_zoo.search.sources import Choice, Interval, source_of
from ssl_zoo.types import UserError

# What may differ when a search goes on: the place and the machine, not the length of a run.
_OF_THE_PLACE = {*CHANGEABLE, "sweep", "trust"} - {"epochs"}
_GRID_EXAMPLE = "'method.temperature=choice(0.1,0.2)'"


@dataclass(frozen=True)
class Space:
    """The overrides of a search.

    Attributes:
        typed: Each override's value, by its key as typed, +KEY too.
        knobs: Where the values of the searched ones come from, by key.
        values: Of ranges of floats: their values, since those that Optuna draws are rounded.
    """

    typed: dict[str, str] = field(default_factory=dict)
    knobs: dict[str, BaseDistribution] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)

    def fixed(self) -> list[str]:
        """The overrides that all trials share."""
        return [_line(k, value) for k, value in self.typed.items() if k not in self.knobs]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Those of a trial, in the order of the command line."""
        texts = {key: self.text(key, params[key]) for key in self.knobs}
        return [_line(key, texts.get(key, value)) for key, value in self.typed.items()]

    def text(self, key: str, value: Any) -> str:
        """A knob's value as it is typed."""
        if key in self.values:
            value = min(self.values[key], key=lambda one: abs(one - value))
        return value if isinstance(value, str) else repr(value)

    def grid(self) -> dict[str, list[Any]]:
        """All values of each knob.

        Raises:
            UserError: If a knob has infinitely many.
        """
        return {key: self._all(key, source) for key, source in self.knobs.items()}

    def _all(self, key: str, source: BaseDistribution) -> list[Any]:
        if isinstance(source, CategoricalDistribution):
            return list(source.choices)
        if isinstance(source, IntDistribution):
            return list(range(source.low, source.high + 1, source.step))
        if key not in self.values:
            raise UserError(
                f"{key}={self.typed[key]}: a grid needs values one by one, as in {_GRID_EXAMPLE}: "
                "choose hydra/sweeper/sampler=qmc, random or tpe for intervals"
            )
        return list(self.values[key])


def _line(key: str, value: str) -> str:
    return key if key.startswith("~") and not value else f"{key}={value}"


def is_place(key: str) -> bool:
    """Whether a knob is of the place and the machine, and not of what a run computes."""
    name = key.lstrip("+~")
    return name in _OF_THE_PLACE or name.startswith("logger.")


def what_counts(overrides: Iterable[str]) -> list[str]:
    """Overrides without those of the place."""
    return [one for one in overrides if not is_place(one.partition("=")[0])]


def space_of(overrides: Iterable[str], config_loader: Any = None) -> Space:
    """Read overrides; of several of one key the last counts.

    Args:
        overrides: In Hydra's grammar: KEY=VALUE, KEY=interval(0,1), ...
        config_loader: Hydra's, which knows the options that a glob matches.

    Raises:
        UserError: If one cannot be searched over.
    """
    space = Space()
    for override in OverridesParser.create(config_loader).parse_overrides(list(overrides)):
        key = override.get_key_element()
        space.typed.pop(key, None)
        if override.is_sweep_override():
            space.typed[key] = str(override.input_line).partition("=")[2]
            space.knobs[key] = _source(override, space.values)
        else:
            deletes = override.is_delete() and "=" not in str(override.input_line)
            space.typed[key] = "" if deletes else override.get_value_element_as_str()
            space.knobs.pop(key, None)
    _check(space)
    return space


def _source(override: Override, values: dict[str, list[float]]) -> BaseDistribution:
    """Optuna's distribution; of a range of floats, its values are kept too."""
    source = source_of(override)
    if isinstance(source, Choice):
        return CategoricalDistribution(list(source.texts))
    if isinstance(source, Interval):
        if source.whole:
            return IntDistribution(int(source.low), int(source.high), log=source.log)
        return FloatDistribution(float(source.low), float(source.high), log=source.log)
    low, high = source.numbers[0], source.numbers[-1]
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=source.log, step=int(source.step))
    values[override.get_key_element()] = [float(number) for number in source.numbers]
    return FloatDistribution(float(low), float(high), step=float(source.step))


def _check(space: Space) -> None:
    names = {key.lstrip("+"): key for key in space.knobs}
    if not names:
        raise UserError(
            "nothing to search over: give a knob from an interval or a list, as in "
            "'method.temperature=interval(0.02,1)' or method=simclr,moco"
        )
    if "seed" in names:
        raise UserError(
            f"seed={space.typed[names['seed']]}: a search over seeds would choose the luckiest "
            "one: search with one seed, then repeat the best trial with -m seed=0,1,2"
        )
    for name in ("sweep", "run_dir", "name", "resume", "dry_run", "trust"):
        if name in names:
            raise UserError(f"{name} is not a knob to search over: give one value")
