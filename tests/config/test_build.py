"""Configs as plain values, and values that are missing."""

from __future__ import annotations

import pytest

from helpers.configs import node
from ssl_zoo.config import flatten, to_plain
from ssl_zoo.types import UserError


def test_flatten() -> None:
    tree = {"a": 1, "b": {"c": {"d": None}, "e": [1, {"f": 2}]}, "g": {}}
    assert flatten(tree) == {"a": 1, "b.c.d": None, "b.e": [1, {"f": 2}], "g": {}}


def test_missing_value() -> None:
    with pytest.raises(UserError, match=r"^a\.b has no value: give a\.b=\.\.\."):
        to_plain(node("a: {b: '???', c: 1}"))


def test_interpolation_of_nothing_is_one_line() -> None:
    with pytest.raises(UserError, match="nowhere") as caught:
        to_plain(node("a: ${nowhere}"))
    assert "\n" not in str(caught.value)
