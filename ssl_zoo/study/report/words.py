"""Numbers as a report shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ssl_zoo.console import short_values
from ssl_zoo.multirun import Spread
from ssl_zoo.types import as_typed


def score(value: float | None, is_share: bool = True) -> str:
    """A score: in per cent with two digits after the point, or with four."""
    if value is None:
        return ""
    return f"{100 * value:.2f}" if is_share else f"{value:.4f}"


def interval(ends: tuple[float, float] | None, is_share: bool = True) -> str:
    """An interval of scores."""
    return "" if ends is None else f"{score(ends[0], is_share)} to {score(ends[1], is_share)}"


def gap(value: float, is_share: bool = True) -> str:
    """A difference, with its sign."""
    text = score(value, is_share)
    return text if text.startswith("-") else f"+{text}"


def gap_interval(ends: tuple[float, float] | None, is_share: bool = True) -> str:
    """An interval of differences; one that Holm's verdict ends just above 0 says so."""
    if ends is None:
        return ""
    low = "above 0" if 0 < ends[0] < 1e-300 else gap(ends[0], is_share)
    return f"{low} to {gap(ends[1], is_share)}"


def spread(found: Spread | None, is_share: bool = True) -> str:
    """A mean with its interval and n, in a cell."""
    if found is None:
        return ""
    ends = f" ({interval(found.interval, is_share)})" if found.interval else ""
    return f"{score(found.mean, is_share)}{ends}, n = {found.n}"


def count(value: float | None) -> str:
    """A large number in few letters: 950, 12,800, 3.2 million, 1.5e9."""
    if value is None:
        return ""
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.1f} million" if value < 1e9 else f"{value:.3g}"


def values(knobs: Mapping[str, object]) -> str:
    """Knobs with what they were set to."""
    return ", ".join(f"{knob}={short(value)}" for knob, value in knobs.items())


def short(value: object) -> str:
    """A value as typed, a number in few letters."""
    if isinstance(value, dict):
        target = str(value.get("_target_") or value.get("name") or "")
        return target.rpartition(".")[2] or json.dumps(value, default=str)
    return short_values([str(as_typed(value))])[0]
