"""The stem of a ResNet: as published, or for small images."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from ssl_zoo.types import BadValue

Stem = Literal["imagenet", "cifar"]


def check_stem(stem: str) -> None:
    """Refuse a stem that does not exist.

    Raises:
        BadValue: Naming those that exist.
    """
    if stem not in get_args(Stem):
        raise BadValue("stem", stem, f"one of {', '.join(get_args(Stem))}")


def cifar_stem(model: Any) -> None:
    """Replace a ResNet's stem for small images, in place."""
    old = model.conv1
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = new, nn.Identity()
