"""Checks of the losses' arguments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ssl_zoo.types import BadValue, UserError, check_number


def check_temperature(temperature: float, name: str = "temperature") -> float:
    """The temperature itself.

    Raises:
        BadValue: If it is not above 0.
    """
    check_number(name, temperature, above=True)
    return temperature


def check_margin(margin: float, positive: bool = False) -> float:
    """The margin itself.

    Raises:
        BadValue: If it is below 0, or is 0 but must be positive.
    """
    check_number("margin", margin, above=positive)
    return margin


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """The value itself.

    Raises:
        BadValue: If it is not one of the choices.
    """
    if value not in choices:
        raise BadValue(name, value, f"one of {', '.join(choices)}")
    return value


def check_weight(name: str, weight: float) -> float:
    """The weight of a term itself.

    Raises:
        BadValue: If it is below 0.
    """
    check_number(name, weight)
    return weight


def two_views(loss: object, z: Tensor) -> tuple[Tensor, Tensor]:
    """The two views of (2, N, D).

    Raises:
        UserError: If there is another number of views.
    """
    if len(z) != 2:
        name = type(loss).__name__
        raise UserError(f"{name} compares two views of an image, not {len(z)}: give two")
    return z[0], z[1]
