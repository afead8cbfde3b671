"""Which knob of a config feeds the argument that a part refuses. Imports no torch."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config.groups import options_of
from ssl_zoo.config.interpolations import overlap, references, select
from ssl_zoo.config.locate import locate
from ssl_zoo.config.unread import overridden_keys
from ssl_zoo.console import in_knobs
from ssl_zoo.types import BadValue, UserError

_ABSENT = object()


class ErrorAt(UserError):
    """An error at a place of a config, whose dotted key begins the line.

    Args:
        place: As in "method.module.loss.temperature".
        rest: What follows it, as in "=foo: give a number".
    """

    def __init__(self, place: str, rest: str) -> None:
        super().__init__(place, rest)
        self.place, self.rest = place, rest

    def __str__(self) -> str:
        return self.place + self.rest


@contextmanager
def naming_knobs(cfg: DictConfig | dict[str, Any], overrides: Iterable[str] = ()) -> Iterator[None]:
    """Errors and warnings of the parts that are built or run inside name the knobs of a config.

    Contexts may be nested: a part that the inner config does not hold is left to the outer one,
    and one that none holds keeps its argument's own name.

    Args:
        cfg: As composed; not resolved, or else the shortest place that builds the part is named.
        overrides: Of the command line, where there is one.

    Raises:
        UserError: For a `BadValue` of a part and for an `ErrorAt`, with the knob's name.
    """
    knobs = _Knobs(cfg, overrides)  # now: Hydra resolves the nodes of a config that it builds from
    in_knobs.append(lambda text: knobs.in_text(text, [f for f, _ in traceback.walk_stack(None)]))
    try:
        yield
    except ErrorAt as error:
        raise UserError(_shown(knobs.feeding(error.place)) + error.rest) from error
    except BadValue as error:
        place = knobs.place_of(error)
        if place is None:
            raise
        line = knobs.line(error, knobs.feeding(place))
        raise UserError(knobs.in_text(line, _frames(error))) from error
    except UserError as error:
        if (line := knobs.in_text(str(error), _frames(error))) == str(error):
            raise
        raise UserError(line) from error
    finally:
        in_knobs.pop()


class _Knobs:
    """The places of a config by their dotted keys, list entries as numbers: "a.views.0.blur"."""

    def __init__(self, cfg: DictConfig | dict[str, Any], overrides: Iterable[str]) -> None:
        self.cfg = OmegaConf.create(cfg) if isinstance(cfg, dict) else cfg
        self.raw = OmegaConf.to_container(self.cfg, resolve=False)
        self.overridden = [key for key in overridden_keys(overrides) if not options_of(key)]

    def place_of(self, error: BadValue) -> str | None:
        """Where the refused argument stands: at the innermost running part that has it."""
        argument = _dotted(error.argument)
        name = argument.split(".")[0]
        parts = sorted(_parts(self.raw), key=lambda part: part[0].count("."))
        running = [
            [_joined(path, argument) for path, node in found if name in node]
            for frame in reversed(_frames(error))
            if (found := [(path, node) for path, node, target in parts if _runs(frame, target)])
        ]
        # an outer part may only have handed the value on, so it must be its own
        same = [p for ps in running for p in ps if _same(self.value(p), error.value)]
        return next(iter([*same, *(running[0] if running else [])]), None)

    def in_text(self, text: str, frames: Sequence[FrameType]) -> str:
        """A text in which arguments of the running parts, as in "set on_error=skip", are knobs."""
        for path, node, target in _parts(self.raw):
            if any(_runs(frame, target) for frame in frames):
                for name in (str(key) for key in node if key != "_target_"):
                    written = re.compile(rf"(?<= )(?<!makes ){re.escape(name)}(?==\w)")
                    if written.search(text):
                        knob = _shown(self.feeding(_joined(path, name)))
                        text = written.sub(lambda _, knob=knob: knob, text)  # type: ignore[misc]
        return text

    def feeding(self, place: str) -> str:
        """The knob that a place takes its value from."""
        knobs = self._sources(place)
        set_here = [knob for knob in knobs if any(overlap(knob, key) for key in self.overridden)]
        with_value = [knob for knob in knobs if self.value(knob) not in (None, _ABSENT)]
        return [*set_here, *with_value, *knobs][0]

    def _sources(self, place: str) -> list[str]:
        """The knobs that the interpolations at a place lead to; the place where there are none."""
        keys = place.split(".")
        for i in range(1, len(keys) + 1):
            path = ".".join(keys[:i])
            named = [key for key in references(select(self.raw, path), path) if self._has(key)]
            if named:
                return [s for key in named for s in self._sources(".".join([key, *keys[i:]]))]
        return [place]

    def _has(self, place: str) -> bool:
        return all(select(self.raw, p, _ABSENT) is not _ABSENT for p in self._sources(place))

    def value(self, place: str) -> Any:
        """The resolved value at a place."""
        if not self._has(place):
            return _ABSENT
        try:
            return OmegaConf.select(self.cfg, place)
        except OmegaConfBaseException:  # hydra: outside of its program
            return _ABSENT

    def line(self, error: BadValue, knob: str) -> str:
        """The error under a knob's name, with the knob's own value."""
        name, value = _shown(knob), self.value(knob)
        if value is _ABSENT:
            return error.named(name)
        if _same(value, error.value):
            return error.named(name)
        return f"{name}={value} makes {error}"


def _frames(error: BaseException) -> list[FrameType]:
    """The calls that led to an error, the outermost first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _parts(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every node with a `_target_`: its path, itself, and what it calls."""
    if isinstance(node, dict) and "_target_" in node:
        yield path, node, _called(node["_target_"])
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _parts(value, _joined(path, str(key)))


def _called(target: str) -> Any:
    try:
        return locate(target)
    except Exception:  # whatever its import raises: a part that is not there does not run
        return None


def _runs(frame: FrameType, target: Any) -> bool:
    """Whether a frame is a function's own, or that of a method on an instance of a class."""
    if isinstance(target, type):
        return type(frame.f_locals.get("self")) is target
    return getattr(inspect.unwrap(target), "__code__", None) is frame.f_code


def _same(value: Any, refused: Any) -> bool:
    """Whether a config's value is the one that a part refused, which may hold it as a tuple."""
    if isinstance(value, int | float) and isinstance(refused, int | float):
        return value == refused or str(value) == str(refused)
    return str(value) == str(list(refused) if isinstance(refused, tuple) else refused)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _dotted(argument: str) -> str:
    """views[0].blur as views.0.blur."""
    return argument.replace("[", ".").replace("]", "")


def _shown(place: str) -> str:
    """views.0.blur as views[0].blur."""
    first, *rest = place.split(".")
    return first + "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in rest)
