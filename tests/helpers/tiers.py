"""Parameters of which the first tier runs some; `make test-all` runs them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def first_tier(values: Iterable[Any], chosen: Callable[[Any], bool]) -> list[Any]:
    """The values, marked as slow but for the chosen ones."""
    marked = []
    for value in values:
        several = value if isinstance(value, tuple) else (value,)
        marked.append(value if chosen(value) else pytest.param(*several, marks=pytest.mark.slow))
    return marked


def only(chosen: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """The values, marked as slow but for those named; each of these must be a value."""
    chosen, values = list(chosen), list(values)
    assert [v for v in chosen if v not in values] == []
    return first_tier(values, lambda value: value in chosen)


def every(n: int, values: Iterable[Any]) -> list[Any]:
    """The values, marked as slow but for each n-th."""
    values = list(values)
    return first_tier(values, lambda value: values.index(value) % n == 0)
