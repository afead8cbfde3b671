"""The axis of a swept number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from ssl_zoo.console import as_number, short_values

_MOST_TICKS = 8  # swept values that each have a tick
_DECADE = 10.0  # values that span it are on a log axis


def set_scale_of(axis: Axes, which: str, typed: Sequence[str], log: bool) -> None:
    """A log axis where the sweep was log or the values span a decade; a tick at each of a few."""
    short = {as_number(text): one for text, one in zip(typed, short_values(typed), strict=True)}
    values = sorted(value for value in short if value is not None)
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and positive[-1] / positive[0] >= _DECADE
    set_scale = axis.set_xscale if which == "x" else axis.set_yscale
    set_limits = axis.set_xlim if which == "x" else axis.set_ylim
    if values[0] > 0 and (log or wide):
        set_scale("log")
    elif values[0] == 0 and wide:  # a 0 beside them, such as a weight decay's
        set_scale("symlog", linthresh=positive[0])
    scale = (axis.xaxis if which == "x" else axis.yaxis).get_transform()
    places = scale.transform(np.array(values))
    pad = 0.06 * (places[-1] - places[0])
    set_limits(*scale.inverted().transform(np.array([places[0] - pad, places[-1] + pad])))
    _ticks(axis, which, {value: short[value] for value in values}, places)


def _ticks(
    axis: Axes, which: str, labels: Mapping[float, str], places: NDArray[np.float64]
) -> None:
    """At the swept values, where these are few and apart."""
    ticks = axis.xaxis if which == "x" else axis.yaxis
    apart = all(b - a >= (places[-1] - places[0]) / 12 for a, b in pairwise(places))
    if len(labels) <= _MOST_TICKS and apart:
        ticks.set_ticks(list(labels), list(labels.values()))
        ticks.set_minor_locator(NullLocator())
        return
    ticks.set_major_formatter(lambda value, _: short_values([f"{value:.6g}"])[0])
    ticks.set_minor_formatter(NullFormatter())
