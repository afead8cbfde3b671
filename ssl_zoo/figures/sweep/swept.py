"""A setting of a sweep, and what all its pictures say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

from ssl_zoo.console import as_number, short_values
from ssl_zoo.figures.canvas import readable

_MARGIN = 0.6  # of the scores' range: an interval that ends further away runs out of the picture
_LONGEST = 48  # letters of a row's label
DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "alpha": 0.5}


class Swept(NamedTuple):
    """A setting of a sweep.

    Attributes:
        values: What it is, by knob, as typed; the same knobs in all settings.
        scores: Of its runs, one for each seed, as they are to be shown.
        mean: Of them; None if there are none.
        interval: Of the mean.
        runs: How many it has, also those without a score.
    """

    values: Mapping[str, str]
    scores: Sequence[float]
    mean: float | None
    interval: tuple[float, float] | None
    runs: int


def names_of(settings: Sequence[Swept], knobs: Sequence[str]) -> list[str]:
    """Each setting's values of these knobs in a few words."""
    columns = [_few_letters([setting.values[knob] for setting in settings]) for knob in knobs]
    names = [", ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
    names = names or [""] * len(settings)
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]


def _few_letters(values: Sequence[str]) -> list[str]:
    """Values without what long ones have in common, such as the folder of paths."""
    long = max(map(len, values)) > 20
    start = commonprefix(list(values)) if long else ""  # noqa: RUF071 - cut at a separator below
    cut = max(start.rfind(letter) for letter in "/.") + 1
    shown = [value[cut:] for value in values] if cut > 8 else short_values(values)
    return [readable(value).strip() for value in shown]


def short_knob(knob: str) -> str:
    """A knob's last part."""
    return knob.replace("/", ".").rpartition(".")[2]


def rank_of(setting: Swept, lowest: bool) -> tuple[bool, float]:
    """The best first, those without a score last."""
    mean = 0.0 if setting.mean is None else setting.mean
    return setting.mean is None, mean if lowest else -mean


def place_of(setting: Swept, knob: str) -> float:
    """The value of a knob that is a number."""
    return as_number(setting.values[knob]) or 0.0


def limits_of(settings: Sequence[Swept]) -> tuple[float, float] | None:
    """Of the axis of scores: wide intervals of two seeds must not hide what the seeds scored."""
    scores = [score for setting in settings for score in setting.scores]
    if not scores:
        return None
    low, high = min(scores), max(scores)
    most = _MARGIN * (high - low or abs(high) / 10 or 1)
    ends = [end for setting in settings for end in setting.interval or ()]
    below = min(most, low - min([low, *ends]))
    above = min(most, max([high, *ends]) - high)
    pad = 0.15 * most
    return low - below - pad, high + above + pad


def marks_in_words(settings: Sequence[Swept]) -> str:
    """What the marks are, in words."""
    limits = limits_of(settings)
    if limits is None or all(len(setting.scores) <= 1 for setting in settings):
        return "one run" if len(settings) == 1 else "one run each"
    ends = [end for setting in settings for end in setting.interval or ()]
    cut = ", cut at the frame" if min(ends) < limits[0] or max(ends) > limits[1] else ""
    return f"dots: seeds; bar: mean and 95% interval{cut}"


def runs_in_words(settings: Sequence[Swept]) -> str:
    """How many runs a mean is of: n = 3, or n = 2 to 3."""
    counts = [len(setting.scores) for setting in settings if setting.scores] or [0]
    few, many = min(counts), max(counts)
    return f"n = {few}" if few == many else f"n = {few} to {many}"


def number_of(settings: Sequence[Swept]) -> Callable[[float], str]:
    """How these scores are written: with one decimal, or with three digits where all are small."""
    large = any(abs(score) >= 10 for setting in settings for score in setting.scores)
    return lambda score: f"{score:.1f}" if large else f"{score:.3g}"
