"""Parts that refuse their arguments, one in each way that a part can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from torch.optim import SGD

from ssl_zoo.console import warn
from ssl_zoo.types import BadValue, UserError


def refuse_negative(argument: str, value: float) -> None:
    if value < 0:
        raise BadValue(argument, value, "at least 0")


class Part:
    """Refuses at once, through a helper."""

    def __init__(self, momentum: float = 0.5, ks: Sequence[int] = (), **others: Any) -> None:
        refuse_negative("momentum", momentum)
        for i, k in enumerate(ks):
            refuse_negative(f"ks[{i}]", k)
        self.momentum = momentum


def warning(level: int) -> None:
    warn(f"above level={level}; give level={level + 1}")


class Heir(Part):
    """Has its `__init__` from `Part`."""


class Late(Part):
    """Refuses when it is used."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def step(self) -> None:
        list(map(lambda value: refuse_negative("momentum", value), [self.momentum]))


class Tuples(Part):
    """Refuses what it holds in another form than the config."""

    def __init__(self, ks: Sequence[int]) -> None:
        raise BadValue("ks", tuple(ks), "longer")


class Owner:
    """Calls a factory later, with a value of its own."""

    def __init__(self, part: Callable[..., Part], momentum: float = 0.5) -> None:
        self.part, self.momentum = part, momentum

    def build(self, **more: Any) -> Part:
        return self.part(**more)

    def hand_on(self) -> Part:
        return self.part(momentum=self.momentum)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


@decorated
def part(momentum: float) -> Part:
    return Part(momentum)


def with_cause(path: str) -> None:
    try:
        raise OSError(path)
    except OSError as error:
        raise UserError("no such file") from error


def stranger(width: int) -> None:
    """Refuses as parts of other libraries do."""
    raise ValueError(f"width must not be {width}")


def sgd(params: Any, lr: float, **others: Any) -> SGD:
    refuse_negative("lr", lr)
    return SGD(params, lr)
